// How a failure group stands.

import type { FailureGroup } from "../api/contract";

export type GroupStanding = "grows" | "failed_again" | "stuck" | "over";

/** How often it failed in the newest two windows. */
export function lately(group: Pick<FailureGroup, "trend">): number {
  return (group.trend.at(-1) ?? 0) + (group.trend.at(-2) ?? 0);
}

/**
 * "Failed again during a retry" is a state of its own: a fix that does not hold is seen at once. It takes a retry, by a bulk
 * job that somebody began (`retriedAt`), and a failure since then; what recovers and fails by itself is failing.
 */
export function standingOf(group: Pick<FailureGroup, "trend" | "last_seen" | "now">, retriedAt: string | undefined): GroupStanding {
  if (lately(group) > 0) return retriedAt !== undefined && Date.parse(group.last_seen) > Date.parse(retriedAt) ? "failed_again" : "grows";
  return group.now.parked + group.now.retrying > 0 ? "stuck" : "over";
}
