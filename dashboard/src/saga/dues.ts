// The timers of a saga, from its steps and its deadline.

import type { SagaView } from "../api/contract";
import { laneId } from "./spans";

export interface Timer { what: "retry" | "timeout" | "wait_ends" | "look" | "deadline"; step: string; at: string }

export function timers(saga: Pick<SagaView, "steps" | "deadline" | "ended_at" | "phase">): Timer[] {
  if (saga.ended_at) return [];
  const due = saga.steps.flatMap((step) => [step.execute, step.compensate].flatMap((track): Timer[] => {
    if (!track?.due_at) return [];
    const what = track.state === "retrying" ? "retry" : track.state === "running" ? "timeout" : track.state === "waiting" ? "wait_ends" : "look";
    return [{ what, step: laneId(step), at: track.due_at }];
  }));
  // Only what still goes forward is turned around by its deadline.
  const deadline: Timer[] = saga.deadline && saga.phase === "forward" ? [{ what: "deadline", step: "", at: saga.deadline }] : [];
  return [...due, ...deadline].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
}
