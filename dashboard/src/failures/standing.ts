// How a failure group stands.

import type { FailureGroup } from "../api/contract";

/** `refused` and `refused_before`: workers said no as the business has it, and what was done is undone. No outage. */
export type GroupStanding = "grows" | "failed_again" | "stuck" | "over" | "refused" | "refused_parked" | "refused_before";

/** How often it failed in the newest two windows. */
export function lately(group: Pick<FailureGroup, "trend">): number {
  return (group.trend.at(-1) ?? 0) + (group.trend.at(-2) ?? 0);
}

/** A worker said no going forward, such as to a card. An undoing that is refused is trouble. */
export function isRefusal(group: Pick<FailureGroup, "kind" | "direction">): boolean {
  return group.kind === "rejected" && group.direction !== "compensate";
}

/** A refusal that needs nobody: its sagas are undone, none is parked or tried again. */
export function isDesigned(group: Pick<FailureGroup, "kind" | "direction" | "now">): boolean {
  return isRefusal(group) && group.now.parked + group.now.retrying === 0;
}

/**
 * "Failed again during a retry" is a state of its own: a fix that does not hold is seen at once. It takes a retry, by a bulk
 * job that somebody began (`retriedAt`), and a failure since then; what recovers and fails by itself is failing.
 */
export function standingOf(group: Pick<FailureGroup, "trend" | "last_seen" | "now" | "kind" | "direction">, retriedAt: string | undefined): GroupStanding {
  const again = retriedAt !== undefined && Date.parse(group.last_seen) > Date.parse(retriedAt);
  if (isDesigned(group)) return lately(group) > 0 ? "refused" : "refused_before";
  if (lately(group) > 0) return again ? "failed_again" : isRefusal(group) ? "refused_parked" : "grows";
  return group.now.parked + group.now.retrying > 0 ? "stuck" : "over";
}
