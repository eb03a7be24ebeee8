// What is read again when the live stream hints that it has changed, and how soon.

import type { QueryClient } from "@tanstack/react-query";

import { rereader } from "./reread";

const LISTS_EVERY_MS = 1_000;
const SETTLED_MS = 2_500;

/** What each kind of hint makes stale. */
const STALE: Record<string, string[]> = {
  holds: ["holds", "overview", "workers", "saga"],
  jobs: ["jobs"],
  reconciliation: ["reconciliation"],
  approvals: ["approvals", "overview", "saga"],
  anomalies: ["parked", "overview", "saga"],
  dead_letters: ["dead-letters", "overview"],
};
const LISTS = ["sagas", "counts", "overview", "parked", "failures"];

/**
 * Hints come faster than some answers: whatever they make stale is read again one answer after the other, or nothing would ever
 * be answered.
 */
export function takeHints(client: QueryClient, stopped: () => boolean): { take: (event: string, data: string) => void; stop: () => void } {
  const sagas = new Set<string>();
  let flush: ReturnType<typeof setTimeout> | null = null;
  let settle: ReturnType<typeof setTimeout> | null = null;
  const reread = rereader(client, stopped);
  const isShown = (id: string) => client.getQueryCache().findAll({ type: "active", queryKey: ["saga", id] }).length > 0;
  const take = (event: string, data: string) => {
    if (event === "reset") return void client.invalidateQueries();
    const told: { saga?: string; what?: string } = JSON.parse(data || "{}");
    if (event === "ops" && told.what) for (const key of STALE[told.what] ?? []) reread(key);
    if (event !== "saga" || !told.saga) return;
    sagas.add(told.saga);
    // Two hundred hints a second are one question a second.
    flush ??= setTimeout(() => {
      flush = null;
      if ([...sagas].some(isShown)) reread("saga");
      for (const list of LISTS) reread(list);
      sagas.clear();
      // What lists show by step and error follows a moment later than the hint.
      settle ??= setTimeout(() => {
        settle = null;
        for (const list of LISTS) reread(list);
      }, SETTLED_MS);
    }, LISTS_EVERY_MS);
  };
  const stop = () => {
    if (flush !== null) clearTimeout(flush);
    if (settle !== null) clearTimeout(settle);
  };
  return { take, stop };
}
