// Is it a good night? One sentence first, then what it is made of.

import "./overview.css";

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Fragment, type ReactNode, useMemo } from "react";

import { useInterval } from "../api/live";
import type { Overview } from "../api/contract";
import { asProblem } from "../api/problem";
import { overview } from "../api/queries";
import { FailureLine } from "../failures/FailureLine";
import { isDesigned, isRefusal, lately } from "../failures/standing";
import { type T, useLanguage, useT } from "../i18n";
import { duration, moment, money, number } from "../i18n/format";
import { Ago, Amount, Lasting, useNow } from "../ui/bits";
import { Icon } from "../ui/Icon";
import { lazyPart } from "../ui/lazily";
import { Await, Figure, Notice, Page, Section } from "../ui/Page";
import { PileUp } from "./PileUp";
import { Plain } from "./Plain";
import { TopParked } from "./TopParked";
import { behind, moneyOf, tooOld } from "./verdict";

/** The worst ones: with more, where the work is would be below the first screen. */
const FAILURES_SHOWN = 3;

const Chart = lazyPart(async () => (await import("../ui/Chart")).Chart, 172);

export function OverviewPage() {
  const t = useT();
  const asked = useQuery({ ...overview, refetchInterval: useInterval() });
  const absent = asked.isError && asProblem(asked.error).kind === "absent";
  return (
    <Page title={t("overview")}>
      {absent ? <Plain /> : <Await of={asked} rows={8}>{(data) => <Whole data={data} readAt={asked.dataUpdatedAt} />}</Await>}
    </Page>
  );
}

function Whole({ data, readAt }: { data: Overview; readAt: number }) {
  const t = useT();
  const language = useLanguage();
  const { now } = data;
  const fails = data.failures.filter((group) => lately(group) > 0);
  const last = useMemo(() => sum(data), [data]);
  const risk = moneyOf(data.at_risk);
  return (
    <>
      <Verdict data={data} readAt={readAt} fails={fails} t={t} />
      <dl className="figures">
        <Figure label={t("state.running")}><Link to="/sagas" search={{ status: "running" }}>{number(language, now.running)}</Link></Figure>
        <Figure label={t("state.late")} tone={now.late > 0 ? "late" : undefined}><Link to="/sagas" search={{ health: "late" }}>{number(language, now.late)}</Link></Figure>
        <Figure label={t("state.retrying")} tone={now.retrying > 0 ? "retrying" : undefined}><Link to="/sagas" search={{ health: "retrying" }}>{number(language, now.retrying)}</Link></Figure>
        <Figure label={t("state.waiting")}><Link to="/sagas" search={{ health: "waiting" }}>{number(language, now.waiting)}</Link></Figure>
        <Figure label={t("state.parked")} tone={now.parked > 0 ? "parked" : undefined}><Link to="/parked">{number(language, now.parked)}</Link></Figure>
        <Figure label={t("anomalies")} tone={now.anomalies > 0 ? "parked" : undefined}><Link to="/parked">{number(language, now.anomalies)}</Link></Figure>
        <Figure label={t("at_risk")} tone={risk.length > 0 ? "parked" : undefined}><Link to="/parked">{risk.length === 0 ? "0" : risk.map((it) => <Amount key={it.currency} amount={it.amount} currency={it.currency} />)}</Link></Figure>
        <Figure label={t("to_end")} note={t("to_end.p99", { p99: data.to_end.p99_ms == null ? "–" : duration(language, data.to_end.p99_ms) })}><Lasting ms={data.to_end.p50_ms} /></Figure>
      </dl>
      <div className="overview-two">
        <TopParked />
        <Section title={t("overview.failures")} flush actions={<Link to="/failures">{t("all")}{data.failures.length > FAILURES_SHOWN && ` (${number(language, data.failures.length)})`}</Link>}>
          {data.failures.length === 0 ? <Notice icon="completed" tone="completed" title={t("failures.none")}>{t("failures.none.short")}</Notice>
            : <ul>{data.failures.slice(0, FAILURES_SHOWN).map((group) => <FailureLine key={group.id} group={group} minutes={5} dense />)}</ul>}
        </Section>
      </div>
      <PileUp inFlight={data.in_flight} />
      <div className="overview-two even">
        <Section title={t("overview.throughput")} actions={<span className="muted">{t("overview.hour", { started: last.started, completed: last.completed, compensated: last.compensated })}</span>}>
          <Chart {...throughput(data, t)} label={t("overview.throughput")} format={(value) => number(language, Math.round(value))} />
        </Section>
        <Section title={t("overview.to_end")} actions={<span className="muted">{t("overview.samples", { count: data.to_end.samples })}</span>}>
          <Chart {...latency(data, t)} label={t("overview.to_end")} format={(value) => duration(language, value)} />
        </Section>
      </div>
      <Section title={t("workers")} flush actions={<Link to="/workers">{t("all")}</Link>}>
        {data.workers.length === 0 ? <Notice icon="workers" title={t("workers.none")}>{t("workers.none.do")}</Notice> : (
          <ul>{data.workers.map((worker) => (
            <li key={worker.worker} className="line spread">
              <span className="row"><Icon name={worker.instances === 0 ? "abandoned" : "workers"} /><strong>{worker.worker}</strong>{worker.instances === 0 ? <span className="state tone-parked">{t("workers.gone")}</span> : <span className="muted">{t("workers.instances", { count: worker.instances })}</span>}</span>
              <span className={(worker.lag_ms ?? 0) > 5_000 ? "state tone-late" : "muted"}>{t("lag")} <Lasting ms={worker.lag_ms} /></span>
            </li>
          ))}</ul>
        )}
      </Section>
      <p className="muted">{t("as_of")} <Ago at={data.at} />{data.lag_ms > 2_000 && ` · ${t("list.lag", { s: Math.round(data.lag_ms / 1_000) })}`}</p>
    </>
  );
}

/** The night in one sentence: the worst first. */
function Verdict({ data, readAt, fails, t }: { data: Overview; readAt: number; fails: Overview["failures"]; t: T }) {
  const language = useLanguage();
  const clock = useNow();
  const { now } = data;
  // Every part is a link to what it speaks of.
  const parts: ReactNode[] = [];
  if (now.parked + now.anomalies > 0) parts.push(<Link to="/parked">{t("verdict.parked", { count: now.parked + now.anomalies })}</Link>);
  const risk = moneyOf(data.at_risk);
  if (risk.length > 0) parts.push(<Link to="/parked" search={{ sort: "amount" }}>{t("verdict.risk", { amount: risk.map((it) => money(language, it.amount, it.currency)).join(" + ") })}</Link>);
  // A refused card is no outage: it is told where nothing else is.
  const growing = fails.find((group) => !isDesigned(group));
  const refusals = fails.filter(isDesigned);
  if (growing) parts.push(<Link to="/failures" search={{ group: growing.id }}>{t(isRefusal(growing) ? "verdict.refusing" : "verdict.failing", { step: growing.step ?? growing.definition, code: growing.code, since: moment(language, Date.parse(growing.since), clock) })}</Link>);
  if (now.late > 0) parts.push(<Link to="/sagas" search={{ health: "late" }}>{t("verdict.late", { count: now.late })}</Link>);
  const gone = data.workers.filter((worker) => worker.instances === 0).map((worker) => worker.worker);
  if (gone.length > 0) parts.push(<Link to="/workers">{t("verdict.workers", { workers: gone.join(", ") })}</Link>);
  const slow = behind(data.workers)[0];
  if (slow) parts.push(<Link to="/workers">{t("verdict.behind", { worker: slow.worker, lag: duration(language, slow.lag_ms) })}</Link>);
  if (data.approvals > 0) parts.push(<Link to="/parked">{t("verdict.approvals", { count: data.approvals })}</Link>);
  if (data.dead_letters > 0) parts.push(<Link to="/dead-letters">{t("verdict.letters", { count: data.dead_letters })}</Link>);
  const old = tooOld(data.lag_ms, readAt, clock);
  if (old !== null) parts.push(t("verdict.old", { age: duration(language, old) }));
  const bad = now.parked + now.anomalies > 0 || gone.length > 0;
  const good = parts.length === 0;
  return (
    <p className={`verdict tone-${good ? "completed" : bad ? "parked" : "late"}`} role="status">
      <Icon name={good ? "completed" : bad ? "parked" : "late"} size={16} />
      <span>{good ? <>{t(now.running > 0 ? "verdict.good" : "verdict.quiet", { count: now.running })}{refusals.length > 0 && <> {t("verdict.refused")} {refusals.map((group, at) => <Fragment key={group.id}>{at > 0 && ", "}<Link to="/failures" search={{ group: group.id }}>{[group.step, group.code].filter(Boolean).join(" ")}</Link></Fragment>)}.</>}</> : parts.map((part, at) => <Fragment key={at}>{at > 0 && ", "}{part}</Fragment>)}</span>
    </p>
  );
}

function sum(data: Overview): { started: number; completed: number; compensated: number } {
  const total = { started: 0, completed: 0, compensated: 0 };
  for (const minute of data.minutes) {
    total.started += minute.started;
    total.completed += minute.completed;
    total.compensated += minute.compensated;
  }
  return total;
}

/** The minutes that are over: the one that has just begun would look like a fall at the end of every line. */
function over(data: Overview): Overview["minutes"] {
  return data.minutes.slice(0, -1);
}

function throughput(data: Overview, t: T) {
  const minutes = over(data);
  return {
    at: minutes.map((minute) => Date.parse(minute.at) / 1_000),
    series: [
      { label: t("started"), color: "--s-waiting", values: minutes.map((it) => it.started), dash: [2, 3] },
      { label: t("state.completed"), color: "--s-completed", values: minutes.map((it) => it.completed) },
      { label: t("state.compensated"), color: "--s-compensated", values: minutes.map((it) => it.compensated), dash: [6, 3] },
      { label: t("state.parked"), color: "--s-parked", values: minutes.map((it) => it.parked) },
    ],
  };
}

function latency(data: Overview, t: T) {
  const minutes = over(data);
  return {
    at: minutes.map((minute) => Date.parse(minute.at) / 1_000),
    series: [
      { label: t("p50"), color: "--s-running", values: minutes.map((it) => it.p50_ms ?? null) },
      { label: t("p99"), color: "--s-retrying", values: minutes.map((it) => it.p99_ms ?? null), dash: [6, 3] },
    ],
  };
}
