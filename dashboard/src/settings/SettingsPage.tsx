// Language, looks, who one is, and, for administrators, keys and retention.

import { useQuery } from "@tanstack/react-query";

import { asProblem } from "../api/problem";
import { authConfig, useRights } from "../api/queries";
import { setToken, useSession } from "../api/session";
import { type Language, setLanguage, term, useLanguage, useT } from "../i18n";
import { Button, Field, Select } from "../ui/Controls";
import { Page, Section } from "../ui/Page";
import { Keys } from "./ApiKeys";
import { Retention } from "./Retention";
import { TokenForm } from "./SignIn";
import { TraceViewer } from "./TraceViewer";
import { setTheme, type Theme, useTheme } from "./theme";

export function SettingsPage() {
  const t = useT();
  const language = useLanguage();
  const theme = useTheme();
  const rights = useRights();
  const { signedIn } = useSession();
  const config = useQuery(authConfig);
  return (
    <Page title={t("settings")}>
      <Section title={t("settings.looks")}>
        <div className="row wrap">
          <Field label={t("settings.language")}>{(id) => <Select id={id} value={language} onChange={(event) => setLanguage(event.target.value as Language)}><option value="en" lang="en">English</option><option value="ko" lang="ko">한국어</option></Select>}</Field>
          <Field label={t("settings.theme")}>{(id) => <Select id={id} value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>{(["system", "light", "dark"] as const).map((it) => <option key={it} value={it}>{t(`settings.theme.${it}`)}</option>)}</Select>}</Field>
        </div>
      </Section>
      <Section title={t("trace")}><TraceViewer /></Section>
      <Section title={t("settings.you")}>
        {rights.me ? (
          <dl className="facts">
            <dt>{t("settings.principal")}</dt><dd>{rights.me.principal}</dd>
            <dt>{t("settings.roles")}</dt><dd>{rights.me.roles.map((role) => term(t, "role", role)).join(", ")}</dd>
            {rights.me.dev && <><dt>{t("settings.mode")}</dt><dd>{t("dev_mode.long")}</dd></>}
          </dl>
        ) : <p className="muted">{rights.unknown ? t("rights.unknown") : config.isError && asProblem(config.error).kind === "absent" ? t("no_sign_in.long") : t("loading")}</p>}
        {signedIn ? <p><Button onClick={() => setToken(null)}>{t("signout")}</Button></p> : rights.me?.dev && <details><summary className="link">{t("settings.other")}</summary><TokenForm /></details>}
      </Section>
      {rights.me && rights.admin && <><Keys /><Retention /></>}
    </Page>
  );
}
