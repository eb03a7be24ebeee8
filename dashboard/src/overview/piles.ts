// How many stand at a step: at work, and parked. The engine counts both together; each is a list of its own.

import type { InFlight } from "../api/contract";

type Pile = Pick<InFlight, "count" | "parked">;

export function atWork(pile: Pile): number {
  return Math.max(0, pile.count - pile.parked);
}

export interface Standing { running: number; parked: number }

/** What stands in some piles together. */
export function standing(piles: Pile[]): Standing {
  return { running: piles.reduce((sum, it) => sum + atWork(it), 0), parked: piles.reduce((sum, it) => sum + it.parked, 0) };
}

/** The list of those that were counted: a step alone would find also those that failed there and have ended. */
export function listed(definition: string, step: string, { running, parked }: Standing): Record<string, string> {
  return { definition, step, ...(running > 0 ? { status: "running" } : parked > 0 ? { status: "parked" } : {}) };
}
