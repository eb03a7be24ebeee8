// A saga's history, from its end: what is newest is what one looks for. Only what is not known yet is asked for.

import { type QueryClient, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";

import { get, query } from "./client";
import type { HistoryEvent } from "./contract";
import type { SagaView } from "./schema";

const PAGE = 500;
/** So many of the newest are read at first, and so many more by each look further back. */
const AT_ONCE = 1_000;

/** Events without a gap, up to the newest; `earlier` are not read yet. */
export interface Told { events: HistoryEvent[]; earlier: number }

interface HistoryPage { events: HistoryEvent[]; next?: number | null }

const keyOf = (id: string) => ["saga", id, "history"] as const;

/** The events after a revision, up to and with another one, or all. */
async function read(id: string, after: number, upTo = Infinity, signal?: AbortSignal): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = [];
  for (let next: number | null | undefined = after; next != null && next < upTo;) {
    const page: HistoryPage = await get<HistoryPage>(`/sagas/${id}/history${query({ limit: Math.min(PAGE, upTo - next), after: next })}`, signal);
    events.push(...page.events);
    next = page.next;
  }
  return events;
}

function told(events: HistoryEvent[]): Told {
  return { events, earlier: Math.max(0, (events[0]?.revision ?? 1) - 1) };
}

export const history = (id: string) =>
  queryOptions({
    queryKey: keyOf(id),
    queryFn: async ({ signal, client }): Promise<Told> => {
      const known = () => client.getQueryData<Told>(keyOf(id))?.events ?? [];
      const last = known().at(-1)?.revision;
      const revision = client.getQueryData<SagaView>(["saga", id])?.revision ?? 0;
      const after = last ?? Math.max(0, revision - AT_ONCE);
      const newer = await read(id, after, undefined, signal);
      // What was read in the meantime, further back, is kept.
      return told([...known().filter((event) => event.revision <= after), ...newer]);
    },
  });

/** Reads further back. */
export async function readEarlier(client: QueryClient, id: string): Promise<void> {
  const first = client.getQueryData<Told>(keyOf(id))?.events[0]?.revision ?? 1;
  const events = await read(id, Math.max(0, first - 1 - AT_ONCE), first - 1);
  client.setQueryData<Told>(keyOf(id), (now) => told([...events, ...(now?.events ?? []).filter((event) => event.revision >= first)]));
}

export function useEarlier(id: string): { load: () => void; busy: boolean } {
  const client = useQueryClient();
  const earlier = useMutation({ mutationFn: () => readEarlier(client, id) });
  return { load: () => { if (!earlier.isPending) earlier.mutate(); }, busy: earlier.isPending };
}
