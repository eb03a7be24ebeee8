// A queue whose order is not that of time: what is new stands anywhere in it. Rows that were seen do not move for it; it waits
// until it is asked for.

/** What was shown, under which filter. */
export interface Shown { filter: string; keys: Set<string> }

/**
 * What is shown of a queue, and how many rows wait. A row behind the last one that was seen moves nobody: it is shown, as all of
 * a further page is. While `waiting`, the rows are still those of the filter before.
 */
export function settleQueue<R>(before: Shown | null, rows: R[], keyOf: (row: R) => string, filter: string, waiting: boolean): { next: Shown | null; shown: R[]; fresh: number } {
  const anew = before === null || before.filter !== filter || before.keys.size === 0;
  if (waiting && anew) return { next: before, shown: rows, fresh: 0 };
  const last = anew ? -1 : rows.findLastIndex((row) => before.keys.has(keyOf(row)));
  const shown = anew ? rows : rows.filter((row, at) => at > last || before.keys.has(keyOf(row)));
  return { next: { filter, keys: new Set(shown.map(keyOf)) }, shown, fresh: rows.length - shown.length };
}
