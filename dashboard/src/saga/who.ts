// Who acts, where nobody signs in: the name that was given last, for the history.

import type { Me } from "../api/contract";

const STORED = "amends.who";

export function givenName(): string {
  return localStorage.getItem(STORED) ?? "";
}

export function keepName(name: string): void {
  localStorage.setItem(STORED, name.trim());
}

/** Of the signed-in one; in development, of whoever said so last. */
export function myName(me: Me | undefined): string {
  if (me && !me.dev) return me.principal;
  return givenName() || (me?.principal ?? "");
}
