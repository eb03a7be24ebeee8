// Whether something is held back already: a second hold of the same would have to be released by itself.

import type { Hold } from "../api/contract";

export type HoldTarget = { kind: "starts" } | { kind: "definition"; definition: string } | { kind: "action"; worker: string; actions: string[] };

/** The holds in force that hold all of this back; no `action` are all of a worker's. */
export function heldBy(holds: Hold[] | undefined, target: HoldTarget, action: string): Hold[] {
  return (holds ?? []).filter((hold) => {
    if (hold.kind !== target.kind) return false;
    if (target.kind === "definition") return hold.definition === target.definition;
    if (target.kind === "action") return hold.worker === target.worker && (hold.action == null || hold.action === action);
    return true;
  });
}
