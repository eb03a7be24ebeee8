// How often what is shown is read again. A list of many pages is read page by page, though few of them are on the screen: the
// longer it is, the less often.

import type { Query, QueryClient } from "@tanstack/react-query";

export const REREAD_MS_A_PAGE = 200;

/**
 * Reads what is shown of one kind again, each query by itself: when its answer before is there, and not before as long a pause has
 * passed as that one took. Asked more often than it can be answered, a long list would never be answered at all; and what answers
 * slowly holds back nothing else of its page.
 */
export function rereader(client: QueryClient, stopped: () => boolean): (kind: string) => void {
  const busy = new Set<string>();
  const again = new Set<string>();
  const one = async (query: Query): Promise<void> => {
    const { queryHash: its } = query;
    if (busy.has(its)) return void again.add(its);
    busy.add(its);
    do {
      again.delete(its);
      // Whoever waits for the next page gets it first.
      if (query.state.fetchStatus === "fetching" && query.state.fetchMeta?.fetchMore) await query.promise?.catch(() => undefined);
      const began = performance.now();
      await client.invalidateQueries({ queryKey: query.queryKey, exact: true });
      const { pages } = (query.state.data ?? {}) as { pages?: unknown[] };
      const ms = Math.max(performance.now() - began, (Math.max(1, pages?.length ?? 1) - 1) * REREAD_MS_A_PAGE);
      await new Promise((resolve) => setTimeout(resolve, ms));
    } while (again.has(its) && query.isActive() && !stopped());
    busy.delete(its);
  };
  return (kind) => {
    // What is not shown is read when it is.
    void client.invalidateQueries({ queryKey: [kind], refetchType: "none" });
    for (const query of client.getQueryCache().findAll({ queryKey: [kind], type: "active" })) void one(query);
  };
}
