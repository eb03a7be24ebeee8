// The door: OpenID Connect where it is configured, and a pasted token.

import { useMutation, useQuery } from "@tanstack/react-query";
import { Dialog as RadixDialog } from "radix-ui";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";

import type { AuthConfig, Me } from "../api/contract";
import { asProblem } from "../api/problem";
import { authConfig, me } from "../api/queries";
import { currentToken, goOn, setToken, useSession } from "../api/session";
import { type T, useT } from "../i18n";
import { Button, DialogEnd, Field, Input } from "../ui/Controls";
import { Skeleton } from "../ui/Page";
import { BadReturn, type Came, finish, issuerOf, NotSecure, NoWindow, returnBeside, signIn, signInBeside } from "./oidc";

/** Shows what is behind it to who is signed in, or where nobody has to be. */
export function Door({ children }: { children: ReactNode }) {
  const config = useQuery(authConfig);
  const { session, signedIn } = useSession();
  const who = useQuery({ ...me(session), enabled: config.isSuccess });
  // Who one is decides what a page offers: nothing is shown before that is known, so that nothing moves when it is.
  // Where it could not be found out, the pages are shown all the same, and it is asked again behind them.
  if ((config.isPending && config.errorUpdateCount === 0) || (who.isLoading && who.errorUpdateCount === 0)) return <div className="door"><Skeleton rows={3} /></div>;
  // A server without sign-in has no such endpoint; one that does not answer is said so by every page.
  if (config.data === undefined) return children;
  const unauthorized = who.isError && asProblem(who.error).kind === "unauthorized";
  if ((config.data.mode !== "dev" && !signedIn) || (unauthorized && who.data === undefined)) return <SignIn config={config.data} refused={unauthorized && signedIn} />;
  // A sign-in that has ended takes nothing away from who goes on: what is open, and what is written in it, stays.
  return <>{children}{unauthorized && who.data && <SignInAgain config={config.data} as={who.data} />}</>;
}

/** Whoever it is that a token lets in. */
async function whose(token: string): Promise<string> {
  const response = await fetch("/auth/me", { headers: { authorization: `Bearer ${token}`, accept: "application/json" }, cache: "no-store" });
  if (response.status === 401) throw new RefusedToken();
  if (!response.ok) throw new Error(`/auth/me: HTTP ${response.status}`);
  return ((await response.json()) as Me).principal;
}

class RefusedToken extends Error {}

/** Why one could not be signed in. */
function worded(error: unknown, t: T): string {
  if (error instanceof NoWindow) return t("signin.no_window");
  if (error instanceof NotSecure) return t("signin.not_secure");
  if (error instanceof RefusedToken) return t("signin.refused");
  if (error instanceof BadReturn) return t("signin.stray");
  return error instanceof Error ? error.message : String(error);
}

/** Over the page as it stands. The same person goes on with it; for somebody else it begins anew. */
function SignInAgain({ config, as }: { config: AuthConfig; as: Me }) {
  const t = useT();
  const issuer = useMemo(() => issuerOf(config), [config]);
  const given = useRef<AbortController>(null);
  useEffect(() => () => given.current?.abort(), []);
  const take = async ({ token, renew }: Came) => {
    if (await whose(token) === as.principal) goOn(token, renew);
    else setToken(token, renew);
  };
  const enter = useMutation({
    mutationFn: async (pasted: string | null) => {
      if (pasted !== null || issuer === null) return take({ token: pasted ?? "", renew: null });
      given.current?.abort();
      given.current = new AbortController();
      return take(await signInBeside(issuer, given.current.signal));
    },
  });
  const failed = enter.error === null || (enter.error instanceof DOMException && enter.error.name === "AbortError") ? null : worded(enter.error, t);
  return (
    <RadixDialog.Root open>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="overlay above" />
        <RadixDialog.Content className="dialog above" onEscapeKeyDown={(event) => event.preventDefault()} onInteractOutside={(event) => event.preventDefault()}>
          <RadixDialog.Title>{t("signin.again")}</RadixDialog.Title>
          <RadixDialog.Description className="muted">{t("signin.again.about", { who: as.principal })}</RadixDialog.Description>
          {failed !== null && <p role="alert" className="field-error">{t("signin.failed")} {failed}</p>}
          {issuer && <Button kind="primary" onClick={() => enter.mutate(null)}>{t("signin.with", { issuer: new URL(issuer.issuer).host })}</Button>}
          <TokenForm plain={issuer !== null} onToken={(token) => enter.mutate(token)} />
          <DialogEnd><Button kind="ghost" onClick={() => setToken(null)}>{t("signout")}</Button></DialogEnd>
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  );
}

function SignIn({ config, refused }: { config: AuthConfig; refused: boolean }) {
  const t = useT();
  const [failed, setFailed] = useState<string | null>(null);
  const issuer = useMemo(() => issuerOf(config), [config]);
  const returning = location.pathname.endsWith("/signed-in");
  useEffect(() => {
    if (!returning || issuer === null || currentToken() !== null) return;
    const came = new URLSearchParams(location.search);
    // The code is of no use any more: it does not stay in the address.
    history.replaceState(null, "", "/ui/signed-in");
    if (came.size === 0) return;
    returnBeside(came).then((taken) => { if (taken) window.close(); else return finish(issuer, came, (back) => history.replaceState(null, "", back)); })
      .catch((error: unknown) => setFailed(worded(error, t)));
  }, [issuer, returning, t]);
  return (
    <main className="door">
      <h1>Amends</h1>
      <p className="muted">{t("signin.lead")}</p>
      {refused && <p role="alert" className="field-error">{t("signin.refused")}</p>}
      {failed !== null && <p role="alert" className="field-error">{t("signin.failed")} {failed}</p>}
      {issuer && (
        <Button kind="primary" onClick={() => signIn(issuer, returning ? "/ui/" : location.pathname + location.search).catch((error: unknown) => setFailed(worded(error, t)))}>
          {t("signin.with", { issuer: new URL(issuer.issuer).host })}
        </Button>
      )}
      <TokenForm plain={issuer !== null} />
    </main>
  );
}

/** A token or a key, pasted; it stays in memory only. */
export function TokenForm({ plain = false, onToken = setToken }: { plain?: boolean; onToken?: (token: string) => void }) {
  const t = useT();
  const [pasted, setPasted] = useState("");
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); if (pasted.trim() !== "") onToken(pasted.trim()); }}>
      <Field label={t("signin.token")} hint={t("signin.token.hint")}>
        {(id) => <Input id={id} type="password" autoComplete="off" value={pasted} onChange={(event) => setPasted(event.target.value)} />}
      </Field>
      <Button type="submit" kind={plain ? "plain" : "primary"} disabled={pasted.trim() === ""}>{t("signin.go")}</Button>
    </form>
  );
}
