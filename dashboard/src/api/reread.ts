// How often a list is read again. One of many pages is read page by page, though few of them are on the screen: the longer
// it is, the less often.

import type { QueryClient } from "@tanstack/react-query";

export const REREAD_MS_A_PAGE = 200;

/**
 * Reads the shown lists of one kind again: when their answer before is there, and not before as long a pause has passed as that
 * one took. Asked more often than it can be answered, a long list would never be answered at all.
 */
export function rereader(client: QueryClient, stopped: () => boolean): (kind: string) => Promise<void> {
  const busy = new Set<string>();
  const again = new Set<string>();
  const rest = (kind: string, ms: number) => new Promise<void>((resolve) => {
    const timer = setTimeout(end, ms);
    // Another list of this kind that is shown now does not wait out the rest of the one before.
    const off = client.getQueryCache().subscribe((event) => { if (event.type === "observerAdded" && event.query.queryKey[0] === kind) end(); });
    function end(): void {
      clearTimeout(timer);
      off();
      resolve();
    }
  });
  return async (kind) => {
    if (busy.has(kind)) return void again.add(kind);
    busy.add(kind);
    do {
      again.delete(kind);
      const began = performance.now();
      await client.invalidateQueries({ queryKey: [kind] });
      const pages = client.getQueriesData<{ pages?: unknown[] }>({ queryKey: [kind], type: "active" }).map(([, data]) => data?.pages?.length ?? 1);
      await rest(kind, Math.max(performance.now() - began, (Math.max(1, ...pages) - 1) * REREAD_MS_A_PAGE));
    } while (again.has(kind) && !stopped());
    busy.delete(kind);
  };
}
