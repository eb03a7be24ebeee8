// Sign-in by OpenID Connect's code flow with PKCE (RFC 7636). What must survive the redirect is kept in the tab's session
// storage and taken out on return; tokens never leave memory.

import type { AuthConfig } from "../api/contract";
import { setToken } from "../api/session";

const PENDING = "amends.sign-in";
const REDIRECT = "/ui/signed-in";

interface Provider { authorization_endpoint: string; token_endpoint: string; end_session_endpoint?: string }
interface Pending { state: string; verifier: string; back: string }
interface Tokens { access_token: string; refresh_token?: string; expires_in?: number }
/** Where one signs in: an issuer, and who this page is to it. */
export type Issuer = AuthConfig & { issuer: string; client_id: string };

/** Where one can sign in by OpenID Connect, if that is configured. */
export function issuerOf(config: AuthConfig): Issuer | null {
  const { issuer, client_id } = config;
  return config.mode === "jwt" && issuer && client_id ? { ...config, issuer, client_id } : null;
}

async function discover(config: Issuer): Promise<Provider> {
  const response = await fetch(`${config.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  if (!response.ok) throw new Error(`${config.issuer}: HTTP ${response.status}`);
  return (await response.json()) as Provider;
}

function random(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export async function challenge(verifier: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

/** Leaves for the provider. */
export async function signIn(config: Issuer, back: string): Promise<void> {
  const provider = await discover(config);
  const pending: Pending = { state: random(), verifier: random(), back };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const url = new URL(provider.authorization_endpoint);
  url.search = new URLSearchParams({
    response_type: "code",
    client_id: config.client_id,
    redirect_uri: location.origin + REDIRECT,
    scope: config.scopes ?? "openid",
    state: pending.state,
    code_challenge: await challenge(pending.verifier),
    code_challenge_method: "S256",
  }).toString();
  location.assign(url);
}

/** Comes back from the provider: the code becomes a token. Answers where the reader was. */
export async function finish(config: Issuer, search: URLSearchParams): Promise<string> {
  const stored = sessionStorage.getItem(PENDING);
  sessionStorage.removeItem(PENDING);
  const pending = stored === null ? null : (JSON.parse(stored) as Pending);
  if (search.get("error")) throw new Error(search.get("error_description") ?? search.get("error") ?? "");
  const code = search.get("code");
  if (pending === null || code === null || search.get("state") !== pending.state) throw new Error("state");
  const provider = await discover(config);
  take(config, provider, await exchange(provider, {
    grant_type: "authorization_code", code, redirect_uri: location.origin + REDIRECT, client_id: config.client_id, code_verifier: pending.verifier,
  }));
  return pending.back;
}

async function exchange(provider: Provider, form: Record<string, string>): Promise<Tokens> {
  const response = await fetch(provider.token_endpoint, { method: "POST", body: new URLSearchParams(form) });
  if (!response.ok) throw new Error(`${provider.token_endpoint}: HTTP ${response.status}`);
  return (await response.json()) as Tokens;
}

function take(config: Issuer, provider: Provider, tokens: Tokens): void {
  setToken(tokens.access_token);
  const refresh = tokens.refresh_token;
  if (refresh === undefined || tokens.expires_in === undefined) return;
  setTimeout(() => {
    exchange(provider, { grant_type: "refresh_token", refresh_token: refresh, client_id: config.client_id })
      .then((next) => take(config, provider, { refresh_token: refresh, ...next }))
      .catch(() => setToken(null));
  }, Math.max(5, tokens.expires_in - 30) * 1_000);
}
