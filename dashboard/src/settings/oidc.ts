// Sign-in by OpenID Connect's code flow with PKCE (RFC 7636). What must survive the redirect is kept in the tab's session
// storage and taken out on return; tokens never leave memory.

import type { AuthConfig } from "../api/contract";
import { currentToken, renewed, replaceToken, setToken } from "../api/session";

const PENDING = "amends.sign-in";
/** Where a window that was opened for a sign-in tells the page that opened it how it ended. */
const CHANNEL = "amends.sign-in";
/** How such a sign-in is told from one of this tab, on return. */
const BESIDE = "beside.";
const WINDOW = "popup,width=520,height=680";
const REDIRECT = "/ui/signed-in";
/** So long before a token runs out its next one is asked for. */
const EARLY_S = 30;
const PAUSE_S_MIN = 5;
/** The page that opened a window takes its return at once, or is not there. */
const TAKEN_MS_MAX = 3_000;

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

/** The proof that goes with a code. Browsers compute it over HTTPS, and on this machine, only. */
export async function challenge(verifier: string): Promise<string> {
  const subtle = crypto.subtle as SubtleCrypto | undefined;
  if (subtle === undefined) throw new NotSecure();
  return base64url(new Uint8Array(await subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

/** Leaves for the provider. */
export async function signIn(config: Issuer, back: string): Promise<void> {
  const provider = await discover(config);
  const pending: Pending = { state: random(), verifier: random(), back };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  location.assign(await askedAt(provider, config, pending));
}

/** Where the provider is asked for a code. */
async function askedAt(provider: Provider, config: Issuer, pending: Pending): Promise<URL> {
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
  return url;
}

/** A token, and how its next one is got. */
export interface Came { token: string; renew: (() => Promise<boolean>) | null }

/**
 * Signs in in a window of its own, and leaves this page as it is. The window must be opened by a click, before anything is
 * waited for: browsers keep others from opening.
 */
export async function signInBeside(config: Issuer, signal: AbortSignal): Promise<Came> {
  const beside = window.open("about:blank", "amends-sign-in", WINDOW);
  if (beside === null) throw new NoWindow();
  const channel = new BroadcastChannel(CHANNEL);
  try {
    const provider = await discover(config);
    const pending: Pending = { state: BESIDE + random(), verifier: random(), back: "" };
    const returned = new Promise<URLSearchParams>((done, failed) => {
      signal.addEventListener("abort", () => failed(new DOMException("given up", "AbortError")));
      channel.addEventListener("message", (event: MessageEvent<{ returned?: string }>) => {
        const search = new URLSearchParams(event.data.returned);
        if (event.data.returned === undefined || search.get("state") !== pending.state) return;
        channel.postMessage({ taken: pending.state });
        done(search);
      });
    });
    beside.location.assign(await askedAt(provider, config, pending));
    return await tokenOf(config, provider, await returned, pending);
  } finally {
    channel.close();
    beside.close();
  }
}

/** In the window of a sign-in beside a page: gives that page what the provider said. False when this is no such return, or nobody takes it. */
export async function returnBeside(search: URLSearchParams): Promise<boolean> {
  const state = search.get("state");
  if (!state?.startsWith(BESIDE)) return false;
  const channel = new BroadcastChannel(CHANNEL);
  const taken = new Promise<boolean>((done) => {
    setTimeout(() => done(false), TAKEN_MS_MAX);
    channel.addEventListener("message", (event: MessageEvent<{ taken?: string }>) => { if (event.data.taken === state) done(true); });
  });
  channel.postMessage({ returned: search.toString() });
  return taken.finally(() => channel.close());
}

/** A return that no sign-in of this tab belongs to. */
export class BadReturn extends Error {}
/** The page came over plain HTTP. */
export class NotSecure extends Error {}
/** The browser lets no window open. */
export class NoWindow extends Error {}
/** The provider answered, and said no. */
class Refused extends Error {}

/** Comes back from the provider: the code becomes a token. `back` is told where the reader was before anybody is signed in. */
export async function finish(config: Issuer, search: URLSearchParams, back: (to: string) => void): Promise<void> {
  const stored = sessionStorage.getItem(PENDING);
  sessionStorage.removeItem(PENDING);
  const pending = stored === null ? null : (JSON.parse(stored) as Pending);
  if (search.get("error")) throw refusal(search);
  if (pending === null || search.get("code") === null || search.get("state") !== pending.state) throw new BadReturn();
  const came = await tokenOf(config, await discover(config), search, pending);
  back(pending.back);
  setToken(came.token, came.renew);
}

function refusal(search: URLSearchParams): Error {
  return new Error(search.get("error_description") ?? search.get("error") ?? "");
}

/** The code becomes a token. */
async function tokenOf(config: Issuer, provider: Provider, search: URLSearchParams, pending: Pending): Promise<Came> {
  const code = search.get("code");
  if (code === null) throw refusal(search);
  const tokens = await exchange(provider, {
    grant_type: "authorization_code", code, redirect_uri: location.origin + REDIRECT, client_id: config.client_id, code_verifier: pending.verifier,
  });
  const keeper = new Keeper(provider, config.client_id, tokens);
  return { token: tokens.access_token, renew: tokens.refresh_token === undefined ? null : () => keeper.renew() };
}

async function exchange(provider: Provider, form: Record<string, string>): Promise<Tokens> {
  const response = await fetch(provider.token_endpoint, { method: "POST", body: new URLSearchParams(form) });
  if ([400, 401, 403].includes(response.status)) throw new Refused(`${provider.token_endpoint}: HTTP ${response.status}`);
  if (!response.ok) throw new Error(`${provider.token_endpoint}: HTTP ${response.status}`);
  return (await response.json()) as Tokens;
}

/** Keeps a token fresh, as long as it is the one in use and the provider gives others. */
class Keeper {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly provider: Provider, readonly client: string, private tokens: Tokens) {
    this.#wait((tokens.expires_in ?? 0) - EARLY_S);
  }

  async renew(): Promise<boolean> {
    const { access_token, refresh_token } = this.tokens;
    // Who has signed out, or signed in as somebody else, needs no more of these.
    if (refresh_token === undefined || currentToken() !== access_token) return false;
    try {
      const next = await exchange(this.provider, { grant_type: "refresh_token", refresh_token, client_id: this.client });
      if (currentToken() !== access_token) return false;
      this.tokens = { ...this.tokens, ...next };
      replaceToken(next.access_token);
      this.#wait((next.expires_in ?? 0) - EARLY_S);
      return true;
    } catch (error) {
      // What is refused stays refused: the token is good until it runs out, and then one signs in again.
      if (error instanceof Refused) delete this.tokens.refresh_token;
      else this.#wait(0);
      return false;
    }
  }

  #wait(s: number): void {
    if (this.tokens.refresh_token === undefined || this.tokens.expires_in === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void renewed(this.tokens.access_token), Math.max(PAUSE_S_MIN, s) * 1_000);
  }
}
