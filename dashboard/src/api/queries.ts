// What pages ask the engine for. Keys begin with the word by which the live stream makes them stale.

import { infiniteQueryOptions, keepPreviousData, queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";

import { get, query } from "./client";
import type {
  ActionPlans, Approval, AuditEntry, AuthConfig, Counts, DeadLetter, DeadLetterPage, FailureGroup, FailurePage, Hold, Job,
  JobItem, Me, Overview, ParkedPage, Reconciliation, ReplayPlan, SagaPage, SagaView, SavedFilter, WorkerView,
} from "./contract";
import { asProblem } from "./problem";
import { useSession } from "./session";
import type { DefinitionList, DefinitionView, IgnoredPage, LabelList } from "./schema";

export type SagaFilter = Record<string, string | undefined>;

const ME_AGAIN_MS = 5_000;

/** How one signs in. It is asked again until it is known: without it there is no door. */
export const authConfig = queryOptions({
  queryKey: ["auth-config"],
  queryFn: ({ signal }) => get<AuthConfig>("/auth/config", signal),
  staleTime: Infinity,
  refetchInterval: ({ state }) => (state.error !== null && asProblem(state.error).kind !== "absent" ? ME_AGAIN_MS : false),
  retry: false,
});

/** Who is signed in. It is asked again until it is known: what one may do hangs on it. */
export const me = (session: number) =>
  queryOptions({
    queryKey: ["me", session],
    queryFn: ({ signal }) => get<Me>("/auth/me", signal),
    staleTime: 60_000,
    refetchInterval: (query) => (query.state.error !== null && !["unauthorized", "absent"].includes(asProblem(query.state.error).kind) ? ME_AGAIN_MS : false),
    retry: false,
    // Only the interval asks again: every part of a page looks at this, and each would ask as it appears.
    retryOnMount: false,
  });

export const overview = queryOptions({
  queryKey: ["overview"],
  queryFn: ({ signal }) => get<Overview>("/ops/overview?minutes=60", signal),
});

/** Sagas on a page of the list. */
export const PAGE = 200;

export const sagas = (filter: SagaFilter) =>
  infiniteQueryOptions({
    queryKey: ["sagas", filter],
    queryFn: ({ signal, pageParam }) => get<SagaPage>(`/sagas${query({ ...filter, limit: PAGE, after: pageParam })}`, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });

export const counts = (filter: SagaFilter) =>
  queryOptions({
    queryKey: ["counts", filter],
    queryFn: ({ signal }) => get<Counts>(`/ops/counts${query(filter)}`, signal),
    placeholderData: keepPreviousData,
  });

export const saga = (id: string) =>
  queryOptions({ queryKey: ["saga", id], queryFn: ({ signal }) => get<SagaView>(`/sagas/${id}`, signal) });

export const ignored = (id: string) =>
  queryOptions({ queryKey: ["saga", id, "ignored"], queryFn: ({ signal }) => get<IgnoredPage>(`/sagas/${id}/ignored?limit=200`, signal) });

const PLANS_AGAIN_MS = 5_000;
const NOT_THERE = ["absent", "forbidden", "unauthorized"];

/** Asked anew for each revision: what can be done changes with the saga; and again, where it could not be read. */
export const plans = (id: string, revision: number) =>
  queryOptions({
    queryKey: ["saga", id, "plans", revision], queryFn: ({ signal }) => get<ActionPlans>(`/sagas/${id}/actions`, signal), retry: false,
    refetchInterval: ({ state }) => (state.error !== null && !NOT_THERE.includes(asProblem(state.error).kind) ? PLANS_AGAIN_MS : false),
  });

export const replayPlan = (id: string, version?: string) =>
  queryOptions({
    queryKey: ["saga", id, "replay", version],
    queryFn: ({ signal }) => get<ReplayPlan>(`/sagas/${id}/replay${query({ version })}`, signal),
    retry: false,
  });

export const parked = (filter: SagaFilter) =>
  infiniteQueryOptions({
    queryKey: ["parked", filter],
    queryFn: ({ signal, pageParam }) => get<ParkedPage>(`/ops/parked${query({ ...filter, limit: 100, after: pageParam })}`, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });

/** The few with the most money. */
export const parkedFirst = queryOptions({
  queryKey: ["parked", "first"],
  queryFn: ({ signal }) => get<ParkedPage>(`/ops/parked${query({ sort: "amount", limit: "3" })}`, signal),
});

export const failures = (filter: SagaFilter) =>
  infiniteQueryOptions({
    queryKey: ["failures", filter],
    queryFn: ({ signal, pageParam }) => get<FailurePage>(`/ops/failures${query({ ...filter, limit: 200, after: pageParam })}`, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });

export const failure = (id: string) =>
  queryOptions({ queryKey: ["failures", id], queryFn: ({ signal }) => get<FailureGroup>(`/ops/failures/${id}`, signal) });

export const workers = queryOptions({
  queryKey: ["workers"],
  queryFn: ({ signal }) => get<{ workers: WorkerView[] }>("/ops/workers", signal),
});

export const holds = queryOptions({
  queryKey: ["holds"],
  queryFn: ({ signal }) => get<{ holds: Hold[] }>("/ops/holds?active=true", signal),
  retry: false,
});

export const approvals = queryOptions({
  queryKey: ["approvals"],
  queryFn: ({ signal }) => get<{ approvals: Approval[] }>("/ops/approvals?open=true", signal),
  retry: false,
});

export const jobs = queryOptions({ queryKey: ["jobs"], queryFn: ({ signal }) => get<{ jobs: Job[] }>("/ops/jobs", signal) });

export const job = (id: string) =>
  queryOptions({ queryKey: ["jobs", id], queryFn: ({ signal }) => get<Job>(`/ops/jobs/${id}`, signal) });

export const jobItems = (id: string, among: { outcome?: string | undefined; reason?: string | undefined }) =>
  infiniteQueryOptions({
    queryKey: ["jobs", id, "items", among],
    queryFn: ({ signal, pageParam }) =>
      get<{ items: JobItem[]; next?: number }>(`/ops/jobs/${id}/items${query({ ...among, limit: 200, after: pageParam })}`, signal),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });

export const deadLetters = (filter: SagaFilter) =>
  infiniteQueryOptions({
    queryKey: ["dead-letters", filter],
    queryFn: ({ signal, pageParam }) => get<DeadLetterPage>(`/ops/dead-letters${query({ ...filter, limit: 100, after: pageParam })}`, signal),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });

export const deadLetter = (id: number) =>
  queryOptions({ queryKey: ["dead-letters", id], queryFn: ({ signal }) => get<DeadLetter>(`/ops/dead-letters/${id}`, signal) });

export const audit = (filter: SagaFilter) =>
  infiniteQueryOptions({
    queryKey: ["audit", filter],
    queryFn: ({ signal, pageParam }) =>
      get<{ entries: AuditEntry[]; next?: number }>(`/ops/audit${query({ ...filter, limit: 200, after: pageParam })}`, signal),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  });

export const reconciliation = infiniteQueryOptions({
  queryKey: ["reconciliation"],
  queryFn: ({ signal, pageParam }) => get<Reconciliation>(`/ops/reconciliation${query({ limit: 100, after: pageParam })}`, signal),
  initialPageParam: undefined as number | undefined,
  getNextPageParam: (page) => page.next ?? undefined,
});

export const definitions = queryOptions({
  queryKey: ["definitions"],
  queryFn: ({ signal }) => get<DefinitionList>("/definitions", signal),
  staleTime: 10_000,
});

export const definition = (name: string) =>
  queryOptions({ queryKey: ["definitions", name], queryFn: ({ signal }) => get<DefinitionView>(`/definitions/${encodeURIComponent(name)}`, signal) });

/** The labels that begin so; their names, until one is whole. */
export const labels = (begin: string) =>
  queryOptions({
    queryKey: ["labels", begin],
    queryFn: ({ signal }) => get<LabelList>(`/ops/labels${query({ begin, limit: 8 })}`, signal),
    staleTime: 10_000, retry: false, placeholderData: keepPreviousData,
  });

export const savedFilters = queryOptions({
  queryKey: ["filters"],
  queryFn: ({ signal }) => get<{ filters: SavedFilter[] }>("/ops/filters", signal),
  retry: false,
});

interface Rights { operate: boolean; author: boolean; admin: boolean; me?: Me; unknown?: { again: () => void } }

/** What the signed-in one may do. A server without sign-in lets everybody do everything; where it cannot be found out, that is said. */
export function useRights(): Rights {
  const { session } = useSession();
  const { data, error, errorUpdateCount, refetch } = useQuery(me(session));
  if (data) {
    const has = (...any: string[]) => data.roles.some((role) => role === "admin" || any.includes(role));
    return { operate: has("operator"), author: has("author"), admin: has(), me: data };
  }
  const open = error !== null && asProblem(error).kind === "absent";
  const rights = { operate: open, author: open, admin: open };
  // While it is asked again there is no error, and it is not known any better.
  return errorUpdateCount === 0 || open ? rights : { ...rights, unknown: { again: () => void refetch() } };
}

/** Makes everything that begins with one of these words stale. */
export function useStale(): (...kinds: string[]) => void {
  const client = useQueryClient();
  return (...kinds) => kinds.forEach((kind) => void client.invalidateQueries({ queryKey: [kind] }));
}
