// What became of a saga while somebody looked at it: state by state, before and after.

import type { SagaView } from "../api/contract";
import type { StepView } from "../api/schema";
import { standing } from "../ui/State";
import { laneId } from "./spans";

interface Stand { state: string; attempt: number }
/** One thing that changed; the saga itself has no step. */
export interface Move { step: string | null; before: Stand; after: Stand }

type Looked = Pick<SagaView, "status" | "phase" | "health" | "steps">;

export function moved(before: Looked, after: Looked): Move[] {
  const moves: Move[] = [];
  const [was, is] = [standing(before), standing(after)];
  if (was !== is) moves.push({ step: null, before: { state: was, attempt: 0 }, after: { state: is, attempt: 0 } });
  const known = new Map(before.steps.map((step) => [laneId(step), stand(step)]));
  for (const step of after.steps) {
    const now = stand(step);
    const then = known.get(laneId(step)) ?? { state: "pending", attempt: 0 };
    if (then.state !== now.state || then.attempt !== now.attempt) moves.push({ step: laneId(step), before: then, after: now });
  }
  return moves;
}

/** Whether only tries were counted: nothing that one decides on. */
export function triedOnly(moves: Move[]): boolean {
  return moves.every((move) => move.before.state === move.after.state);
}

function stand(step: StepView): Stand {
  return { state: step.state, attempt: (step.compensate ?? step.execute)?.attempt ?? 0 };
}
