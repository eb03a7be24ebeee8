// Which sagas? A filter that is the address, counts that are filters, rows that change in place and never jump.

import "./sagas.css";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { useInterval } from "../api/live";
import type { SagaSummary } from "../api/contract";
import { answerOf, asProblem } from "../api/problem";
import { counts, type SagaFilter, sagas, useRights } from "../api/queries";
import { useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useExplained } from "../i18n/said";
import { BulkDialog } from "../jobs/BulkDialog";
import type { BulkSet } from "../jobs/deed";
import { Ago, Amount, short, Until } from "../ui/bits";
import { Button } from "../ui/Controls";
import { Await, Notice, Page } from "../ui/Page";
import { standing, StateBadge } from "../ui/State";
import { type Column, type Sort, sorted, Table, useNarrow } from "../ui/Table";
import { fromSearch } from "./filter";
import { FilterBar } from "./FilterBar";
import { SavedViews } from "./SavedViews";
import { readsOn, rereadMs, type Seen, settle } from "./settled";

const rowKey = (row: SagaSummary) => row.saga;

export function SagasPage() {
  const t = useT();
  const navigate = useNavigate();
  const search = useSearch({ from: "/sagas" });
  const filter = useMemo(() => fromSearch(search), [search]);
  const rights = useRights();
  const [selected, setSelected] = useState<Set<string>>(new Set());
  const [bulk, setBulk] = useState<BulkSet | null>(null);
  const sort = search["sort"];
  // What was ticked under another filter is not seen any more, also where the side bar led here.
  const asks = JSON.stringify(filter);
  useEffect(() => setSelected(new Set()), [asks]);
  const set = (next: SagaFilter, by: Sort = sort) => {
    void navigate({ to: "/sagas", search: { ...fromSearch(next), sort: by }, replace: true });
  };
  const every = useInterval();
  const asked = useInfiniteQuery({ ...sagas(filter), refetchInterval: (query) => rereadMs(query.state.data?.pages.length ?? 1, every) });
  const { data, waiting } = answerOf(asked);
  const rows = useMemo(() => data?.pages.flatMap((page) => page.sagas), [data]);
  const lag = data?.pages[0]?.lag_ms ?? 0;
  const { shown, fresh, take } = useSettled(rows, asks, waiting);
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = asked;
  const more = readsOn(data?.pages.length ?? 0, hasNextPage);
  const onEnd = useCallback(() => { if (more && !isFetchingNextPage) void fetchNextPage(); }, [more, isFetchingNextPage, fetchNextPage]);
  const columns = useColumns();
  // The engine answers the newest first; another order is of what is loaded, and says so.
  const ordered = useMemo(() => sorted(shown, columns, sort), [shown, columns, sort]);
  const bySort = columns.some((column) => column.by && column.id === sort?.replace(/^-/, ""));
  return (
    <Page title={t("sagas")} fill actions={<SavedViews filter={filter} onOpen={set} />}>
      <FilterBar filter={filter} onChange={set} />
      <Facets filter={filter} onChange={set} />
      <section className="section flush fill" aria-label={t("sagas")} aria-busy={waiting}>
        {selected.size > 0 && rights.operate && (
          <div className="bulk">
            <strong>{t("bulk.selected", { count: selected.size })}</strong>
            <Button icon="retrying" onClick={() => setBulk({ sagas: [...selected], action: "retry" })}>{t("action.retry")}</Button>
            <Button icon="compensating" onClick={() => setBulk({ sagas: [...selected], action: "compensate" })}>{t("action.compensate")}</Button>
            <Button icon="simulator" onClick={() => setBulk({ sagas: [...selected], kind: "replay" })}>{t("replay")}</Button>
            <button type="button" className="link" onClick={() => setSelected(new Set())}>{t("bulk.none")}</button>
          </div>
        )}
        {fresh > 0 && <button type="button" className="fresh" onClick={take}>{t("list.fresh", { count: fresh })}</button>}
        {bySort && hasNextPage && <p className="list-sorted" role="status">{t("list.sorted", { count: shown.length })} {more && <button type="button" className="link" disabled={isFetchingNextPage} onClick={onEnd}>{t("more")}</button>}</p>}
        <Await of={{ data: rows === undefined ? undefined : ordered, dataUpdatedAt: asked.dataUpdatedAt, error: asked.error, errorUpdatedAt: asked.errorUpdatedAt, isError: asked.isError, isPlaceholderData: asked.isPlaceholderData, refetch: asked.refetch }} rows={10}>
          {(list) => (
            <Table fill label={t("sagas")} rows={list} columns={columns} rowKey={rowKey} rowHeight={44} onEnd={onEnd} sort={sort} onSort={(by) => void navigate({ to: "/sagas", search: { ...search, sort: by }, replace: true })}
              onOpen={(row) => void navigate({ to: "/sagas/$id", params: { id: row.saga } })}
              {...(rights.operate ? { selected, onSelect: setSelected } : {})}
              empty={Object.keys(filter).length > 0
                ? <Notice icon="search" title={t("list.nothing")} action={<Button onClick={() => set({})}>{t("filter.clear")}</Button>}>{t("list.nothing.do")}</Notice>
                : <Notice icon="list" title={t("list.none")}>{t("list.none.do")}</Notice>} />
          )}
        </Await>
        <p className="list-end spread">
          <span>{rows !== undefined && t("list.shown", { count: shown.length })}{hasNextPage && ` · ${t(more ? "list.more" : "list.bound")}`}</span>
          <span>{lag > 2_000 && t("list.lag", { s: Math.round(lag / 1_000) })}</span>
          {rights.operate && shown.length > 0 && Object.keys(filter).length > 0 && <button type="button" className="link" onClick={() => setBulk({ filter: new URLSearchParams(filter as Record<string, string>).toString(), action: "retry" })}>{t("bulk.all")}</button>}
        </p>
      </section>
      {bulk && <BulkDialog set={bulk} onClose={() => setBulk(null)} />}
    </Page>
  );
}

function useSettled(rows: SagaSummary[] | undefined, filter: string, waiting: boolean): { shown: SagaSummary[]; fresh: number; take: () => void } {
  const seen = useRef<Seen | null>(null);
  const [, redraw] = useState(0);
  if (rows === undefined) return { shown: [], fresh: 0, take: () => undefined };
  const settled = settle(seen.current, rows, filter, waiting);
  seen.current = settled.seen;
  return {
    shown: settled.shown,
    fresh: settled.fresh,
    take: () => {
      seen.current = { filter, newest: rows[0]?.saga ?? "" };
      redraw((it) => it + 1);
    },
  };
}

function Facets({ filter, onChange }: { filter: SagaFilter; onChange: (filter: SagaFilter) => void }) {
  const t = useT();
  const language = useLanguage();
  const { status: _status, health: _health, ...rest } = filter;
  const asked = useQuery({ ...counts(rest), refetchInterval: useInterval(5_000), retry: false });
  const { data } = answerOf(asked);
  const absent = asked.isError && asProblem(asked.error).kind === "absent";
  const count = (value: { count: number; capped?: boolean } | number | undefined) => {
    if (value === undefined) return null;
    const [n, capped] = typeof value === "number" ? [value, false] : [value.count, value.capped ?? false];
    return <span className="facet-count">{number(language, n)}{capped ? "+" : ""}</span>;
  };
  const facet = (name: "status" | "health", value: string, shown: React.ReactNode) => (
    <button key={name + value} type="button" className="facet" aria-pressed={filter[name] === value}
      onClick={() => onChange({ ...rest, ...(filter[name] === value ? {} : { [name]: value }) })}>
      <StateBadge state={value} quiet />{shown}
    </button>
  );
  return (
    <div className="facets" role="group" aria-label={t("facets")}>
      {(["running", "parked", "completed", "compensated", "abandoned"] as const).map((status) => facet("status", status, count(data?.by_status[status])))}
      {!absent && (["late", "retrying", "waiting", "queued"] as const).map((health) => facet("health", health, count(data?.by_health[health])))}
    </div>
  );
}

function useColumns(): Column<SagaSummary>[] {
  const t = useT();
  const narrow = useNarrow();
  return useMemo(() => [
    { id: "state", head: t("state"), width: "144px", wide: true, cell: (row) => <StateBadge state={standing(row)} /> },
    { id: "key", head: t("key"), width: "minmax(76px, 1.2fr)", by: (row) => row.key ?? row.saga, cell: (row) => <><span className="cell-two" title={row.key ?? row.saga}>{row.key ?? short(row.saga)}</span><span className="cell-two">{narrow && <StateBadge state={standing(row)} quiet />}{narrow && " "}{[row.definition, ...Object.entries(row.labels ?? {}).map(([name, value]) => `${name}:${value}`)].join(" · ")}</span></> },
    { id: "where", head: t("where"), width: "minmax(120px, 1.6fr)", wide: true, by: (row) => row.attempt ?? 0, cell: (row) => <Where row={row} /> },
    { id: "next", head: t("next"), width: "minmax(90px, 130px)", wide: true, by: (row) => row.next_at && !row.ended_at ? -Date.parse(row.next_at) : -Infinity, cell: (row) => row.ended_at ? <span className="muted">–</span> : row.next_at ? <Until at={row.next_at} /> : row.status === "parked" ? t("next.human.short") : <span className="muted">–</span> },
    { id: "amount", head: t("amount"), width: "min(120px, 23vw)", right: true, by: (row) => row.amount ?? 0, cell: (row) => <Amount amount={row.amount} currency={row.currency} /> },
    { id: "started", head: t("started"), width: "minmax(84px, 110px)", right: true, wide: true, by: (row) => row.started_at, cell: (row) => <Ago at={row.started_at} /> },
  ], [t, narrow]);
}

function Where({ row }: { row: SagaSummary }) {
  const t = useT();
  const explain = useExplained();
  if (!row.step && !row.error) return <span className="muted">–</span>;
  return (
    <>
      <span className="cell-two">{row.step}{(row.attempt ?? 0) > 1 ? ` · ${t("try_number", { attempt: row.attempt })}` : ""}{row.owner ? ` · ${row.owner}` : ""}</span>
      {row.error && <span className="cell-two" title={row.error.message}>{row.error.code}: {explain(row.error.code, row.error.message)}</span>}
    </>
  );
}
