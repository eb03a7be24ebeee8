// Who is signed in. The token lives in this module and nowhere else: no storage, no URL, gone with the page.

import { useSyncExternalStore } from "react";

/** Gets the same person another token; answers whether there is one. */
type Renewal = () => Promise<boolean>;

let token: string | null = null;
let renewal: Renewal | null = null;
let renewing: Promise<boolean> | null = null;
// Counts who came and went: another token of the same person is the same session.
let session = 0;
/** `same`: the same person goes on, with another token. */
type Listener = (same: boolean) => void;
const listeners = new Set<Listener>();

export function currentToken(): string | null {
  return token;
}

/** Somebody signs in, or out. */
export function setToken(next: string | null, renew: Renewal | null = null): void {
  token = next;
  renewal = renew;
  session += 1;
  for (const listener of listeners) listener(false);
}

/** The same person is signed in again: what is open on the page stays, and what was refused is asked again. */
export function goOn(next: string, renew: Renewal | null = null): void {
  token = next;
  renewal = renew;
  for (const listener of listeners) listener(true);
}

/** The same person's next token. Nothing that is open on a page may change by it. */
export function replaceToken(next: string): void {
  token = next;
}

/** Whether there is another token than the one that was refused. Asked by many at once, it is got once. */
export async function renewed(refused: string | null): Promise<boolean> {
  if (refused === null) return false;
  if (token !== refused) return token !== null;
  renewing ??= (renewal?.() ?? Promise.resolve(false)).finally(() => { renewing = null; });
  return renewing;
}

export function onSessionChange(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const subscribe = (listener: () => void) => onSessionChange(() => listener());

/** Another number is somebody else. */
export function useSession(): { session: number; signedIn: boolean } {
  const number = useSyncExternalStore(subscribe, () => session);
  return { session: number, signedIn: token !== null };
}
