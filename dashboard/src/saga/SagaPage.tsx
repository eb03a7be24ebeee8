// One saga: what happened, what happens next, and what can be done.

import "./saga.css";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { type ReactNode, useEffect, useMemo, useState } from "react";

import { history, useEarlier } from "../api/history";
import { useInterval } from "../api/live";
import type { SagaView } from "../api/contract";
import { deadLetters, ignored, saga as sagaQuery, useRights } from "../api/queries";
import { type GraphStep, LazyGraph } from "../graph/LazyGraph";
import { term, useT } from "../i18n";
import { useExplained, useSaid } from "../i18n/said";
import { useCommands } from "../layout/commands";
import { traceAddress } from "../settings/trace";
import { Ago, Amount, Copy, Id, Span, Until } from "../ui/bits";
import { Button, Menu, type MenuItem, Tabs } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Await, Page, Section, Unread } from "../ui/Page";
import { standing, StateBadge } from "../ui/State";
import { ActDialog } from "./ActDialog";
import { Data } from "./Data";
import { type Beside, History, Ignored } from "./History";
import { NotesPanel, OwnerLine } from "./Notes";
import { graphSteps } from "./graphSteps";
import { stepOf } from "./items";
import { EraseDialog } from "./Erase";
import { best, nextTry } from "./plans";
import { ReplayDialog } from "./Replay";
import { Runbook } from "./Runbook";
import { SagaLink } from "./SagaLink";
import { SignalDialog } from "./Signal";
import { laneId } from "./spans";
import { StepPanel } from "./StepPanel";
import { Timers } from "./Timers";
import { type Acting, deedOf, type OnAct, usePlans } from "./usePlans";
import { Waterfall } from "./Waterfall";
import { cause, nextOf, remedy, sentence, titled } from "./words";

export function SagaPage() {
  const { id } = useParams({ from: "/sagas/$id" });
  const every = useInterval(1_500);
  const asked = useQuery({ ...sagaQuery(id), refetchInterval: (query) => (query.state.data?.ended_at ? 60_000 : every) });
  const saga = asked.data;
  const t = useT();
  // The dialog of a deed stays, with what is written in it, whatever becomes of the saga and of the button that opened it.
  const [acting, setActing] = useState<Acting | null>(null);
  return (
    <Page title={saga?.key ?? t("saga")}
      lead={saga && <span className="row wrap"><Link to="/definitions/$name" params={{ name: saga.definition }}>{saga.definition}</Link><span className="mono" title={saga.version}>{saga.version.slice(0, 8)}</span><Id id={saga.saga} /></span>}
      actions={saga && <Actions saga={saga} onAct={setActing} />}>
      <Await of={asked} rows={8}>{(data) => <Whole saga={data} onAct={setActing} />}</Await>
      {saga && acting && <ActDialog key={deedOf(acting.plan)} saga={saga} plan={acting.plan} revision={acting.revision} onClose={() => setActing(null)} />}
    </Page>
  );
}

function Whole({ saga, onAct }: { saga: SagaView; onAct: OnAct }) {
  const t = useT();
  const search = useSearch({ from: "/sagas/$id" });
  const navigate = useNavigate({ from: "/sagas/$id" });
  const selected = search["step"] ?? null;
  const tab = search["tab"] ?? "history";
  const every = useInterval(1_500);
  const told = useQuery({ ...history(saga.saga), refetchInterval: saga.ended_at ? false : every });
  const events = told.data?.events ?? [];
  const earlier = useEarlier(saga.saga);
  const { beside, unread } = useBeside(saga);
  const select = (step: string) => void navigate({ search: (before) => ({ ...before, step: before["step"] === step ? undefined : step }), replace: true });
  const said = useSaid();
  const steps = useMemo<GraphStep[]>(() => graphSteps(saga.steps, t, said), [saga.steps, t, said]);
  return (
    <>
      <Say saga={saga} onAct={onAct} />
      {saga.anomalies?.filter((it) => !it.resolved_at).map((it) => (
        <p key={it.effect_key + it.kind} className="saga-anomaly"><Icon name="anomaly" /><span><strong>{t("state.anomaly")}: {term(t, "anomaly", it.kind)}</strong> {it.amount != null && <Amount amount={it.amount} currency={it.currency} />} <span className="mono break">{it.effect_key}</span> <Ago at={it.at} /></span></p>
      ))}
      <Section title={t("saga.graph")} flush><LazyGraph steps={steps} selected={selected === null ? null : stepOf(selected)} onSelect={select} label={t("saga.graph")} /></Section>
      <div className="saga-grid">
        <div className="stack">
          <Section title={t("saga.waterfall")}>
            <Await of={told}>{(data) => <>{data.earlier > 0 && <p className="muted">{t("waterfall.part", { count: data.events.length })}</p>}<Waterfall saga={saga} history={events} selected={selected} onSelect={select} /></>}</Await>
          </Section>
          <Section>
            <Tabs label={t("saga.details")} value={tab} onChange={(value) => void navigate({ search: (before) => ({ ...before, tab: value }), replace: true })} tabs={[
              { value: "history", label: t("saga.history"), body: <>{unread}<Await of={told}>{(data) => <History events={data.events} beside={beside} earlier={data.earlier} onEarlier={earlier.load} busy={earlier.busy} startedAt={saga.started_at} step={selected} />}</Await></> },
              { value: "data", label: t("saga.data"), body: <Data saga={saga} /> },
              { value: "ignored", label: t("saga.ignored"), body: <IgnoredTab id={saga.saga} /> },
            ]} />
          </Section>
        </div>
        <div className="stack">
          {selected && <StepPanel saga={saga} id={selected} onSelect={select} onAct={onAct} onClose={() => select(selected)} />}
          <Timers saga={saga} />
          <Facts saga={saga} />
          <NotesPanel saga={saga} />
        </div>
      </div>
    </>
  );
}

/** What came for the saga and changed nothing: late answers, and what could not be understood. */
function useBeside(saga: SagaView): { beside: Beside; unread: ReactNode } {
  const t = useT();
  const every = useInterval(5_000);
  const late = useQuery({ ...ignored(saga.saga), refetchInterval: every });
  const letters = useInfiniteQuery({ ...deadLetters({ saga: saga.saga }), enabled: (saga.dead_letters ?? 0) > 0, refetchInterval: every });
  const beside = useMemo(() => ({ ignored: late.data?.ignored ?? [], letters: letters.data?.pages.flatMap((page) => page.dead_letters) ?? [] }), [late.data, letters.data]);
  return { beside, unread: <><Unread of={late} what={t("saga.ignored")} /><Unread of={letters} what={t("dead_letters")} /></> };
}

function IgnoredTab({ id }: { id: string }) {
  return <Await of={useQuery(ignored(id))}>{(page) => <Ignored page={page} />}</Await>;
}

/** The state in words, the reason, and the next event and when. */
function Say({ saga, onAct }: { saga: SagaView; onAct: OnAct }) {
  const t = useT();
  const state = standing(saga);
  const said = useSaid();
  const { key, values } = sentence(saga, said);
  const why = cause(saga, t, useExplained());
  const means = remedy(saga);
  const trying = saga.steps.find((step) => step.step === saga.next?.step && (step.item ?? null) === (saga.next.item ?? null));
  const track = trying?.compensate ?? trying?.execute;
  return (
    <div className={`saga-say tone-${toneOf(state)}`} role="status">
      <p className="row wrap"><StateBadge state={state} /><span>{t(key, values)}</span></p>
      {why && <p className="saga-why break">{t("saga.because")} {why}</p>}
      {means && <p className="saga-means">{t(means)}{saga.runbook && <> {t("saga.runbook")} <Runbook at={saga.runbook} /></>}</p>}
      <p className="saga-next">
        {saga.next && (
          <span>
            {t("saga.next")} {t(`next.${saga.next.what}` as "next.retry", { step: saga.next.step ? laneId({ step: saga.next.step, item: saga.next.item ?? null }) : "", ...nextOf(track) })}{" "}
            <Until at={saga.next.at} />
          </span>
        )}
        {saga.next?.what === "retry" && <RunNow saga={saga} onAct={onAct} />}
        {!saga.next && !saga.ended_at && saga.status === "parked" && <span>{t("next.human")}</span>}
        {saga.held && <Link to="/workers" className="state tone-late"><Icon name="hold" size={12} />{t("saga.held")}</Link>}
        {(saga.approvals?.length ?? 0) > 0 && <Link to="/parked">{t("saga.approvals", { count: saga.approvals?.length ?? 0 })}</Link>}
      </p>
    </div>
  );
}

function toneOf(state: string): string {
  return ({ completed: "completed", compensated: "compensated", parked: "parked", retrying: "retrying", late: "late", compensating: "compensating", waiting: "waiting", queued: "waiting", abandoned: "pending" } as Record<string, string>)[state] ?? "running";
}

function Facts({ saga }: { saga: SagaView }) {
  const t = useT();
  return (
    <Section title={t("saga.facts")}>
      <dl className="facts">
        <dt>{t("amount")}</dt><dd><Amount amount={saga.amount} currency={saga.currency} /></dd>
        <dt>{t("started")}</dt><dd><Ago at={saga.started_at} /></dd>
        <dt>{saga.ended_at ? t("took") : t("runs_for")}</dt><dd><Span from={saga.started_at} {...(saga.ended_at ? { to: saga.ended_at } : {})} /></dd>
        {saga.deadline && !saga.ended_at && saga.phase === "forward" && <><dt>{t("deadline")}</dt><dd><Until at={saga.deadline} /></dd></>}
        {saga.key && <><dt>{t("key")}</dt><dd>{saga.key} <Copy text={saga.key} /></dd></>}
        {Object.keys(saga.labels ?? {}).length > 0 && (
          <><dt>{t("labels")}</dt><dd className="row wrap">{Object.entries(saga.labels ?? {}).map(([name, value]) => <Link key={name} className="chip" to="/sagas" search={{ label: `${name}:${value}` }}><span className="muted">{name}:</span>{value}</Link>)}</dd></>
        )}
        <dt>{t("revision")}</dt><dd>{saga.revision}</dd>
        {saga.team && <><dt>{t("team")}</dt><dd>{saga.team}</dd></>}
        {saga.runbook && <><dt>{t("runbook")}</dt><dd className="break"><Runbook at={saga.runbook} /></dd></>}
        <OwnerLine saga={saga} />
        {saga.parent && <><dt>{t("parent")}</dt><dd><SagaLink id={saga.parent} /></dd></>}
        {saga.replay_of && <><dt>{t("replay_of")}</dt><dd><SagaLink id={saga.replay_of} /></dd></>}
        {(saga.replays?.length ?? 0) > 0 && <><dt>{t("replays")}</dt><dd>{saga.replays?.map((id) => <div key={id}><SagaLink id={id} /></div>)}</dd></>}
        <dt>{t("trace")}</dt><dd><Trace id={saga.saga.replaceAll("-", "")} /></dd>
        {(saga.dead_letters ?? 0) > 0 && <><dt>{t("dead_letters")}</dt><dd><Link to="/dead-letters" search={{ saga: saga.saga }}>{saga.dead_letters}</Link></dd></>}
      </dl>
    </Section>
  );
}

/** Opens in the viewer that the settings name; without one, the id is there to be copied. */
function Trace({ id }: { id: string }) {
  const t = useT();
  const at = traceAddress(id);
  const shown = <span className="mono" title={t("trace.about")}>{id.slice(0, 12)}…</span>;
  return <>{at ? <a href={at} target="_blank" rel="noreferrer">{shown}</a> : shown}<Copy text={id} label={t("trace.copy")} /></>;
}

function RunNow({ saga, onAct }: { saga: SagaView; onAct: OnAct }) {
  const t = useT();
  const { plans, revision } = usePlans(saga);
  const plan = nextTry(plans, saga.next);
  const rights = useRights();
  if (!plan || !rights.operate) return null;
  return <Button icon="retrying" onClick={() => onAct({ plan, revision })}>{t("run_now")}</Button>;
}

const REPLAYABLE = ["compensated", "abandoned"];

function Actions({ saga, onAct }: { saga: SagaView; onAct: OnAct }) {
  const t = useT();
  const rights = useRights();
  const { plans, revision, asked: planned } = usePlans(saga);
  const [replay, setReplay] = useState(false);
  const [signal, setSignal] = useState(false);
  const [erase, setErase] = useState(false);
  const said = useSaid();
  // A list that suggests an action leads here with it, once: it is not opened again by going back.
  const search = useSearch({ from: "/sagas/$id" });
  const navigate = useNavigate({ from: "/sagas/$id" });
  const asked = search["act"];
  const suggested = plans.find((plan) => plan.action === asked && plan.allowed && (search["step"] === undefined || plan.step == null || laneId({ step: plan.step, ...(plan.item == null ? {} : { item: plan.item }) }) === search["step"]));
  useEffect(() => {
    if (asked === undefined || plans.length === 0) return;
    if (suggested && rights.operate) onAct({ plan: suggested, revision });
    void navigate({ search: (before) => ({ ...before, act: undefined }), replace: true });
  }, [asked, plans.length, suggested, revision, rights.operate, navigate, onAct]);
  const can = rights.operate ? plans.filter((plan) => plan.allowed) : [];
  useCommands([
    ...can.map((plan) => ({ id: `c/${deedOf(plan)}`, label: titled(plan, t), icon: "retrying" as const, go: () => onAct({ plan, revision }) })),
    ...(rights.operate && !saga.ended_at ? [{ id: "c/signal", label: t("signal.send"), icon: "letters" as const, go: () => setSignal(true) }] : []),
    ...(rights.operate && REPLAYABLE.includes(saga.status) ? [{ id: "c/replay", label: t("replay"), icon: "simulator" as const, go: () => setReplay(true) }] : []),
  ]);
  if (rights.unknown) return null;
  if (!rights.operate) return <span className="muted">{t("act.viewer")}</span>;
  const first = best(plans, saga);
  const items: (MenuItem | "line")[] = plans.filter((plan) => plan !== first).map((plan) => ({
    label: titled(plan, t),
    onSelect: () => onAct({ plan, revision }),
    danger: plan.action === "abandon",
    disabled: !plan.allowed,
    note: plan.allowed || plan.refused == null ? undefined : said(plan.refused),
  }));
  const waits = saga.steps.some((step) => step.state === "waiting" && step.action.startsWith("wait for signal"));
  if (!saga.ended_at) items.push("line", { label: t("signal.send"), onSelect: () => setSignal(true) });
  if (saga.ended_at && rights.admin) items.push({ label: t("erase"), danger: true, onSelect: () => setErase(true), note: t("erase.note") });
  return (
    <>
      <Unread of={planned} what={t("actions")} />
      {first && <Button kind="primary" icon="retrying" onClick={() => onAct({ plan: first, revision })}>{titled(first, t)}</Button>}
      {waits && <Button icon="letters" onClick={() => setSignal(true)}>{t("signal.send")}</Button>}
      {REPLAYABLE.includes(saga.status) && <Button icon="simulator" onClick={() => setReplay(true)}>{t("replay")}</Button>}
      {items.length > 0 && <Menu trigger={<Button icon="more" aria-label={t("act.more")}>{t("act.more")}</Button>} items={items} />}
      {replay && <ReplayDialog saga={saga} onClose={() => setReplay(false)} />}
      {signal && <SignalDialog saga={saga} onClose={() => setSignal(false)} />}
      {erase && <EraseDialog id={saga.saga} onClose={() => setErase(false)} />}
    </>
  );
}
