// What needs me, worst first? Sagas and anomalies, what is at stake, what to do, and who has it.

import "./parked.css";
import "../sagas/sagas.css";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useRef, useState } from "react";

import { useInterval } from "../api/live";
import type { ParkedItem } from "../api/contract";
import { answerOf, asProblem } from "../api/problem";
import { definitions, parked, sagas, useRights } from "../api/queries";
import { type Key, term, useT } from "../i18n";
import { useBecause } from "../i18n/said";
import { BulkDialog } from "../jobs/BulkDialog";
import type { BulkSet } from "../jobs/deed";
import { Ago, Amount, short } from "../ui/bits";
import { Button, Select } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Await, Figure, Notice, Page, Section } from "../ui/Page";
import { Approvals } from "./Approvals";
import { Runbook } from "../saga/Runbook";
import { ResolveDialog } from "./ResolveDialog";
import { settleQueue, type Shown } from "./settled";
import { Take } from "./Take";

const SORTS = ["amount", "-age", "age"] as const;
const rowKey = (row: ParkedItem) => `${row.saga}/${row.anomaly?.effect_key ?? ""}/${row.anomaly?.kind ?? ""}`;

export function ParkedPage() {
  const t = useT();
  const navigate = useNavigate();
  const search = useSearch({ from: "/parked" });
  const sort = search["sort"] ?? "amount";
  const rights = useRights();
  const known = useQuery({ ...definitions, retry: false });
  const every = useInterval();
  const asked = useInfiniteQuery({ ...parked({ sort, definition: search["definition"], owner: search["owner"] }), refetchInterval: every });
  const { data, waiting } = answerOf(asked);
  const rows = useMemo(() => data?.pages.flatMap((page) => page.parked), [data]);
  const queue = useSettled(rows, JSON.stringify([sort, search["definition"], search["owner"]]), waiting);
  const [selected, setSelected] = useState<Set<string>>(new Set());
  const [bulk, setBulk] = useState<BulkSet | null>(null);
  const [resolve, setResolve] = useState<ParkedItem | null>(null);
  const filtered = search["definition"] !== undefined || search["owner"] !== undefined;
  const risk = data?.pages[0]?.at_risk;
  const absent = asked.isError && asProblem(asked.error).kind === "absent";
  const set = (name: string, value: string) => void navigate({ to: "/parked", search: { ...search, [name]: value || undefined }, replace: true });
  const chosen = (rows ?? []).filter((row) => row.kind === "saga" && selected.has(rowKey(row))).map((row) => row.saga);
  return (
    <Page title={t("parked")} lead={t("parked.lead")} actions={!absent && (
      <>
        <Select aria-label={t("definition")} value={search["definition"] ?? ""} onChange={(event) => set("definition", event.target.value)}>
          <option value="">{t("all.definitions")}</option>{known.data?.definitions.map((it) => <option key={it.name}>{it.name}</option>)}
        </Select>
        <Select aria-label={t("sort")} value={sort} onChange={(event) => set("sort", event.target.value)}>{SORTS.map((it) => <option key={it} value={it}>{t(`sort.${it}`)}</option>)}</Select>
      </>
    )}>
      <Approvals />
      {absent ? <PlainList /> : (
        <>
          {risk && risk.length > 0 && <dl className="figures">{risk.map((it) => <Figure key={it.currency} label={t(filtered ? "at_risk.all" : "at_risk")} tone="parked" note={t("count.sagas", { count: it.sagas })}><Amount amount={it.amount} currency={it.currency} /></Figure>)}</dl>}
          <Section flush label={t("parked")} busy={waiting}>
            {chosen.length > 0 && rights.operate && (
              <div className="bulk">
                <strong>{t("bulk.selected", { count: chosen.length })}</strong>
                <Button icon="retrying" onClick={() => setBulk({ sagas: chosen, action: "retry" })}>{t("action.retry")}</Button>
                <Button icon="compensating" onClick={() => setBulk({ sagas: chosen, action: "compensate" })}>{t("action.compensate")}</Button>
                <button type="button" className="link" onClick={() => setSelected(new Set())}>{t("bulk.none")}</button>
              </div>
            )}
            {queue.fresh > 0 && <button type="button" className="fresh" onClick={queue.take}>{t("parked.fresh", { count: queue.fresh })}</button>}
            <Await of={{ ...asked, data: rows && queue.shown }} rows={6}>{(list) => list.length === 0
              ? filtered ? <Notice icon="search" title={t("parked.filtered")} action={<Button onClick={() => void navigate({ to: "/parked", search: { sort: search["sort"] }, replace: true })}>{t("filter.clear")}</Button>}>{t("parked.filtered.do")}</Notice>
                : <Notice icon="completed" tone="completed" title={t("parked.none")}>{t("parked.none.do")}</Notice>
              : <ul>{list.map((row) => {
                const key = rowKey(row);
                return (
                  <Line key={key} row={row} selectable={rights.operate} selected={selected.has(key)} onResolve={() => setResolve(row)}
                    onSelect={() => { const next = new Set(selected); if (!next.delete(key)) next.add(key); setSelected(next); }} />
                );
              })}</ul>}</Await>
            {asked.hasNextPage && <div className="line"><Button busy={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()}>{t("more")}</Button></div>}
          </Section>
        </>
      )}
      {bulk && <BulkDialog set={bulk} onClose={() => setBulk(null)} />}
      {resolve && <ResolveDialog item={resolve} onClose={() => setResolve(null)} />}
    </Page>
  );
}

function useSettled(rows: ParkedItem[] | undefined, filter: string, waiting: boolean): { shown: ParkedItem[]; fresh: number; take: () => void } {
  const seen = useRef<Shown | null>(null);
  const [, redraw] = useState(0);
  if (rows === undefined) return { shown: [], fresh: 0, take: () => undefined };
  const { next, shown, fresh } = settleQueue(seen.current, rows, rowKey, filter, waiting);
  seen.current = next;
  return { shown, fresh, take: () => { seen.current = null; redraw((it) => it + 1); } };
}

function Line({ row, selectable, selected, onSelect, onResolve }: { row: ParkedItem; selectable: boolean; selected: boolean; onSelect: () => void; onResolve: () => void }) {
  const t = useT();
  const because = useBecause();
  const anomaly = row.kind === "anomaly";
  return (
    <li className={`line parked-line${selected ? " selected" : ""}`}>
      {selectable && (anomaly ? <span className="parked-check" /> : <input className="parked-check" type="checkbox" aria-label={t("select_row")} checked={selected} onChange={onSelect} />)}
      <span className="parked-amount"><Amount amount={row.amount} currency={row.currency} /></span>
      <div className="grow">
        <p className="row wrap">
          <Link to="/sagas/$id" params={{ id: row.saga }}><strong>{row.key ?? short(row.saga)}</strong></Link>
          <span className="muted">{row.definition}</span>
          {row.step && <span>{row.direction === "compensate" ? "⤺ " : ""}{row.step}{row.item == null ? "" : `[${row.item}]`}</span>}
          {row.team && <span className="muted">{row.team}</span>}
        </p>
        <p className="break parked-why">{anomaly ? `${t("state.anomaly")}: ${term(t, "anomaly", row.anomaly?.kind ?? "")}` : because(row.message)}</p>
        {row.note && <p className="muted break">“{row.note}”</p>}
        <p className="row wrap parked-care"><span className="muted">{t("owner")}:</span> {row.owner ?? <span className="muted">{t("owner.none")}</span>}{selectable && !row.owner && <Take id={row.saga} />}{row.runbook && <><span className="muted">{t("runbook")}:</span> <Runbook at={row.runbook} /></>}</p>
      </div>
      <div className="parked-do">
        <span className="muted"><Ago at={row.since} /></span>
        {anomaly && selectable ? <Button onClick={onResolve}>{t("suggest.resolve")}</Button>
          : <Link className="button" to="/sagas/$id" params={{ id: row.saga }} search={row.suggested === "look" || !selectable ? {} : { act: row.suggested, ...(row.step ? { step: row.item == null ? row.step : `${row.step}[${row.item}]` } : {}) }}><Icon name="right" />{t(selectable ? `suggest.${row.suggested}` as Key : "suggest.look")}</Link>}
      </div>
    </li>
  );
}

/** A server without the queue still lists what is parked. */
function PlainList() {
  const t = useT();
  const asked = useInfiniteQuery({ ...sagas({ status: "parked" }), refetchInterval: useInterval() });
  const rows = useMemo(() => asked.data?.pages.flatMap((page) => page.sagas), [asked.data]);
  return (
    <Section flush label={t("parked")}>
      <p className="line muted">{t("parked.absent")}</p>
      <Await of={{ ...asked, data: rows }}>{(list) => list.length === 0 ? <Notice icon="completed" tone="completed" title={t("parked.none")}>{t("parked.none.do")}</Notice> : (
        <ul>{list.map((row) => (
          <li key={row.saga} className="line spread"><Link to="/sagas/$id" params={{ id: row.saga }}><strong>{row.key ?? short(row.saga)}</strong></Link><span className="muted">{row.definition}</span><Amount amount={row.amount} currency={row.currency} /><Ago at={row.started_at} /></li>
        ))}</ul>
      )}</Await>
    </Section>
  );
}
