// How the books stand: what the newest run says, where it could read them, and else what the last one said that could.

import type { Reconciliation } from "../api/contract";

/** `unread`: no run that is known could read them. `agreed`: the last that could left nothing open, and the newest could not. */
export type Books = "never" | "unread" | "differ" | "settled" | "agree" | "agreed";

export function booksOf({ run, runs, open }: Pick<Reconciliation, "run" | "runs" | "open">): Books {
  if (open > 0) return "differ";
  if (!run) return "never";
  if (!run.error) return run.findings > 0 ? "settled" : "agree";
  return runs.some((it) => !it.error) ? "agreed" : "unread";
}

/** Only what was read just now is told as good. */
export const TONES = { never: undefined, unread: undefined, differ: "parked", settled: "completed", agree: "completed", agreed: undefined } as const;
