// Rows that were seen stay where they are; what is newer waits until it is asked for.

import { REREAD_MS_A_PAGE } from "../api/reread";

export interface Seen { filter: string; newest: string }

/** Ten thousand rows. All that is shown is read again at each change: beyond that, a filter finds what a longer list would hide. */
export const PAGES_MAX = 50;

/** How often so many pages are read again by the clock, where one page is each `everyMs`; as when the stream tells of a change. */
export function rereadMs(pages: number, everyMs: number): number {
  return Math.max(everyMs, pages * REREAD_MS_A_PAGE);
}

/** Whether the next page is read when the list's end is reached. */
export function readsOn(pages: number, hasNext: boolean): boolean {
  return hasNext && pages < PAGES_MAX;
}

interface Row { saga: string }

/**
 * What is shown of a list, what waits above it, and what was seen. While `waiting`, the rows are still those of the filter
 * before: they say nothing about what is new under this one.
 */
export function settle<R extends Row>(seen: Seen | null, rows: R[], filter: string, waiting: boolean): { seen: Seen | null; shown: R[]; fresh: number } {
  const newest = rows[0]?.saga ?? "";
  // Ids are in order of time: what sorts above the newest one seen came after it.
  const next = !waiting && (seen === null || seen.filter !== filter || seen.newest === "") ? { filter, newest } : seen;
  const top = next?.newest ?? newest;
  const shown = rows.filter((row) => row.saga <= top);
  // All that is read is new: what was seen is beyond it, and an empty list would say that there is none.
  if (shown.length === 0 && rows.length > 0 && !waiting) return { seen: { filter, newest }, shown: rows, fresh: 0 };
  return { seen: next, shown, fresh: waiting ? 0 : rows.length - shown.length };
}
