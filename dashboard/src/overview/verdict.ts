// Whether it is a good night, as far as one can know.

import type { Overview } from "../api/contract";

/** A worker that is behind by more keeps customers waiting. */
const WORKER_LAG_MS = 15_000;
/** Figures that are further behind say nothing about now. */
const FIGURES_LAG_MS = 10_000;
/** The overview is read each 30 s when nothing tells that it changed. */
const READ_MS = 75_000;

/** Workers that are alive and far behind, the worst first. */
export function behind(workers: Overview["workers"]): Overview["workers"] {
  return workers.filter((it) => it.instances > 0 && it.lag_ms > WORKER_LAG_MS).sort((a, b) => b.lag_ms - a.lag_ms);
}

/** How old the figures are, in ms, where they are too old to tell a good night from; else null. */
export function tooOld(lagMs: number, readAt: number, now: number): number | null {
  const since = Math.max(0, now - readAt);
  return lagMs > FIGURES_LAG_MS || since > READ_MS ? lagMs + since : null;
}

/** Sums of money: sagas that say no amount, or none in a currency, are counted as waiting, and are no money at risk. */
export function moneyOf<M extends { currency?: string | null }>(sums: M[]): M[] {
  return sums.filter((it) => it.currency != null);
}
