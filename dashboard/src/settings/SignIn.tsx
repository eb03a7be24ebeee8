// The door: OpenID Connect where it is configured, and a pasted token.

import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";

import type { AuthConfig } from "../api/contract";
import { asProblem } from "../api/problem";
import { authConfig, me } from "../api/queries";
import { currentToken, setToken, useToken } from "../api/session";
import { useT } from "../i18n";
import { Button, Field, Input } from "../ui/Controls";
import { Skeleton } from "../ui/Page";
import { finish, signIn } from "./oidc";

/** Shows what is behind it to who is signed in, or where nobody has to be. */
export function Door({ children }: { children: ReactNode }) {
  const config = useQuery(authConfig);
  const token = useToken();
  const who = useQuery({ ...me(token), enabled: config.isSuccess });
  if (config.isPending) return <div className="door"><Skeleton rows={3} /></div>;
  // A server without sign-in has no such endpoint; one that does not answer is said so by every page.
  if (config.isError) return children;
  const unauthorized = who.isError && asProblem(who.error).kind === "unauthorized";
  if ((config.data.mode === "jwt" && token === null) || unauthorized) return <SignIn config={config.data} refused={unauthorized && token !== null} />;
  return children;
}

function SignIn({ config, refused }: { config: AuthConfig; refused: boolean }) {
  const t = useT();
  const [pasted, setPasted] = useState("");
  const [failed, setFailed] = useState<string | null>(null);
  const returning = location.pathname.endsWith("/signed-in");
  useEffect(() => {
    if (!returning || config.mode !== "jwt" || currentToken() !== null) return;
    finish(config, new URLSearchParams(location.search))
      .then((back) => history.replaceState(null, "", back))
      .catch((error: unknown) => setFailed(error instanceof Error ? error.message : String(error)));
  }, [config, returning]);
  const oidc = config.mode === "jwt" && config.client_id !== undefined;
  return (
    <main className="door">
      <h1>Amends</h1>
      <p className="muted">{t("signin.lead")}</p>
      {refused && <p role="alert" className="field-error">{t("signin.refused")}</p>}
      {failed !== null && <p role="alert" className="field-error">{t("signin.failed")} {failed}</p>}
      {oidc && config.mode === "jwt" && (
        <Button kind="primary" onClick={() => signIn(config, returning ? "/ui/" : location.pathname + location.search).catch((error: unknown) => setFailed(String(error)))}>
          {t("signin.with", { issuer: new URL(config.issuer).host })}
        </Button>
      )}
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (pasted.trim() !== "") setToken(pasted.trim()); }}>
        <Field label={t("signin.token")} hint={t("signin.token.hint")}>
          {(id) => <Input id={id} type="password" autoComplete="off" value={pasted} onChange={(event) => setPasted(event.target.value)} />}
        </Field>
        <Button type="submit" kind={oidc ? "plain" : "primary"} disabled={pasted.trim() === ""}>{t("signin.go")}</Button>
      </form>
    </main>
  );
}
