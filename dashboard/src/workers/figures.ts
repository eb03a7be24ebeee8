// What the living instances of a worker say together.

import type { WorkerView } from "../api/contract";

export interface Breaker { action: string; direction: string; state: string; until: string | null; instances: number }

const BADNESS = ["closed", "half_open", "open"];

/** Commands answered in the minute before; null where no instance says. */
export function throughputOf(worker: Pick<WorkerView, "instances">): number | null {
  const said = worker.instances.filter((it) => it.alive).flatMap((it) => it.answered_per_minute ?? []);
  return said.length === 0 ? null : said.reduce((sum, it) => sum + it, 0);
}

/**
 * One for each action and direction: the worst that an instance has, of how many instances, and when the first tries again. Null
 * where none is known and not every living instance says that it has none.
 */
export function breakersOf(worker: Pick<WorkerView, "instances">): Breaker[] | null {
  const living = worker.instances.filter((it) => it.alive);
  const worst = new Map<string, Breaker>();
  for (const it of living.flatMap((instance) => instance.breakers ?? [])) {
    const key = `${it.action}/${it.direction}`;
    const known = worst.get(key);
    const mine = { action: it.action, direction: it.direction, state: it.state, until: it.until ?? null, instances: 1 };
    if (known === undefined || BADNESS.indexOf(it.state) > BADNESS.indexOf(known.state)) worst.set(key, mine);
    else if (known.state === it.state) {
      worst.set(key, { ...known, instances: known.instances + 1, until: [known.until, mine.until].filter((at) => at !== null).sort()[0] ?? null });
    }
  }
  const unsaid = living.length === 0 || living.some((it) => it.breakers == null);
  return worst.size === 0 && unsaid ? null : [...worst.values()];
}
