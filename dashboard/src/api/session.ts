// Who is signed in. The token lives in this module and nowhere else: no storage, no URL, gone with the page.

import { useSyncExternalStore } from "react";

let token: string | null = null;
const listeners = new Set<() => void>();

export function currentToken(): string | null {
  return token;
}

export function setToken(next: string | null): void {
  token = next;
  for (const listener of listeners) listener();
}

export function onTokenChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useToken(): string | null {
  return useSyncExternalStore(onTokenChange, currentToken);
}
