// The door: OpenID Connect where it is configured, and a pasted token.

import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useMemo, useState } from "react";

import type { AuthConfig } from "../api/contract";
import { asProblem } from "../api/problem";
import { authConfig, me } from "../api/queries";
import { currentToken, setToken, useToken } from "../api/session";
import { useT } from "../i18n";
import { Button, Field, Input } from "../ui/Controls";
import { Skeleton } from "../ui/Page";
import { finish, issuerOf, signIn } from "./oidc";

/** Shows what is behind it to who is signed in, or where nobody has to be. */
export function Door({ children }: { children: ReactNode }) {
  const config = useQuery(authConfig);
  const token = useToken();
  const who = useQuery({ ...me(token), enabled: config.isSuccess });
  // Who one is decides what a page offers: nothing is shown before that is known, so that nothing moves when it is.
  if (config.isPending || who.isLoading) return <div className="door"><Skeleton rows={3} /></div>;
  // A server without sign-in has no such endpoint; one that does not answer is said so by every page.
  if (config.isError) return children;
  const unauthorized = who.isError && asProblem(who.error).kind === "unauthorized";
  if ((config.data.mode !== "dev" && token === null) || unauthorized) return <SignIn config={config.data} refused={unauthorized && token !== null} />;
  return children;
}

function SignIn({ config, refused }: { config: AuthConfig; refused: boolean }) {
  const t = useT();
  const [failed, setFailed] = useState<string | null>(null);
  const issuer = useMemo(() => issuerOf(config), [config]);
  const returning = location.pathname.endsWith("/signed-in");
  useEffect(() => {
    if (!returning || issuer === null || currentToken() !== null) return;
    finish(issuer, new URLSearchParams(location.search))
      .then((back) => history.replaceState(null, "", back))
      .catch((error: unknown) => setFailed(error instanceof Error ? error.message : String(error)));
  }, [issuer, returning]);
  return (
    <main className="door">
      <h1>Amends</h1>
      <p className="muted">{t("signin.lead")}</p>
      {refused && <p role="alert" className="field-error">{t("signin.refused")}</p>}
      {failed !== null && <p role="alert" className="field-error">{t("signin.failed")} {failed}</p>}
      {issuer && (
        <Button kind="primary" onClick={() => signIn(issuer, returning ? "/ui/" : location.pathname + location.search).catch((error: unknown) => setFailed(String(error)))}>
          {t("signin.with", { issuer: new URL(issuer.issuer).host })}
        </Button>
      )}
      <TokenForm plain={issuer !== null} />
    </main>
  );
}

/** A token or a key, pasted; it stays in memory only. */
export function TokenForm({ plain = false }: { plain?: boolean }) {
  const t = useT();
  const [pasted, setPasted] = useState("");
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); if (pasted.trim() !== "") setToken(pasted.trim()); }}>
      <Field label={t("signin.token")} hint={t("signin.token.hint")}>
        {(id) => <Input id={id} type="password" autoComplete="off" value={pasted} onChange={(event) => setPasted(event.target.value)} />}
      </Field>
      <Button type="submit" kind={plain ? "plain" : "primary"} disabled={pasted.trim() === ""}>{t("signin.go")}</Button>
    </form>
  );
}
