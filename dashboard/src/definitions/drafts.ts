// Texts that are written and not published. Each stays in its tab until it is published or given up: a look at the simulator,
// a sign-in or a reload lose nothing.

import type { VersionView } from "../api/schema";

const STORED = "amends.draft.";

/** `base` is the version that it began from. */
export interface Draft { source: string; at: string; base: string | null }

const key = (name: string | null) => STORED + (name ?? "");

export function draftOf(name: string | null): Draft | null {
  const stored = sessionStorage.getItem(key(name));
  return stored === null ? null : (JSON.parse(stored) as Draft);
}

export function keepDraft(name: string | null, source: string, base: string | null): void {
  try {
    sessionStorage.setItem(key(name), JSON.stringify({ source, at: new Date().toISOString(), base } satisfies Draft));
  } catch {
    // A full storage keeps no draft; the page asks before it is left.
  }
}

export function dropDraft(name: string | null): void {
  sessionStorage.removeItem(key(name));
}

const SCENARIOS = "amends.scenarios.";

/** Scenarios that are written beside a definition stay in their tab, too. */
export function scenariosOf(name: string | null): string | null {
  return sessionStorage.getItem(SCENARIOS + (name ?? ""));
}

export function keepScenarios(name: string | null, text: string): void {
  try {
    sessionStorage.setItem(SCENARIOS + (name ?? ""), text);
  } catch {
    // As above.
  }
}

export function dropScenarios(name: string | null): void {
  sessionStorage.removeItem(SCENARIOS + (name ?? ""));
}

/** What was written beside a text of one name, or of none yet, stands beside what was published of it. */
export function moveScenarios(from: string | null, to: string): void {
  const text = scenariosOf(from);
  if (from === to || text === null) return;
  keepScenarios(to, text);
  // A published definition keeps its own; the next new one begins with none.
  if (from === null) dropScenarios(null);
}

/**
 * The active version that publishing would replace unseen: another than the text began from, and not what it says itself.
 * `base` is null where the text began from none.
 */
export function overtaken(versions: VersionView[] | undefined, base: string | null, own: string | undefined): VersionView | null {
  const active = versions?.find((it) => it.active);
  return active === undefined || active.version === base || active.version === own ? null : active;
}
