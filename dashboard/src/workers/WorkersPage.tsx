// Who is behind? Each worker with its instances, lag and breaker, and the brakes that an operator can pull.

import "./workers.css";

import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";

import { send } from "../api/client";
import { UNTOLD_MS, useInterval } from "../api/live";
import type { Hold, WorkerView } from "../api/contract";
import { holds, useRights, useStale, workers } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { Ago, Id, Lasting, Until } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Await, Notice, Page, ProblemLine, Section, Unread } from "../ui/Page";
import { type Breaker, breakersOf, throughputOf } from "./figures";
import type { HoldTarget } from "./held";
import { HoldDialog } from "./HoldDialog";

const LAG_LATE_MS = 5_000;

export function WorkersPage() {
  const t = useT();
  const rights = useRights();
  const asked = useQuery({ ...workers, refetchInterval: useInterval(2_000, UNTOLD_MS) });
  const search = useSearch({ from: "/workers" });
  const navigate = useNavigate();
  const [hold, setHold] = useState<HoldTarget | null>(null);
  // The palette leads here to hold all starts, once: it is not opened again by going back.
  const asksHold = search["hold"] === "starts";
  useEffect(() => {
    if (!asksHold) return;
    setHold({ kind: "starts" });
    void navigate({ to: "/workers", search: {}, replace: true });
  }, [asksHold, navigate]);
  return (
    <Page title={t("workers")} lead={t("workers.lead")} actions={rights.operate && asked.data && <Button icon="hold" onClick={() => setHold({ kind: "starts" })}>{t("holds.all")}</Button>}>
      <Holds />
      <Await of={asked}>{(data) => data.workers.length === 0
        ? <Section><Notice icon="workers" title={t("workers.none")}>{t("workers.none.do")}</Notice></Section>
        : <>{worstFirst(data.workers).map((worker) => <Worker key={worker.worker} worker={worker} onHold={setHold} />)}</>}</Await>
      {hold && <HoldDialog target={hold} onClose={() => setHold(null)} />}
    </Page>
  );
}

function lagOf(worker: WorkerView): number {
  return Math.max(0, ...worker.topics.map((it) => it.lag_ms ?? 0));
}

/** Those that are gone, then those that are behind. */
function worstFirst(workers: WorkerView[]): WorkerView[] {
  const badness = (it: WorkerView) => (it.instances.some((instance) => instance.alive) ? lagOf(it) : Infinity);
  // What is not late is in its usual place, so that nothing jumps by a few milliseconds.
  const late = (it: WorkerView) => (badness(it) > LAG_LATE_MS ? badness(it) : 0);
  return [...workers].sort((a, b) => (late(a) === late(b) ? 0 : late(b) - late(a)));
}

function Worker({ worker, onHold }: { worker: WorkerView; onHold: (target: HoldTarget) => void }) {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const alive = worker.instances.filter((it) => it.alive);
  const lag = lagOf(worker);
  const behind = worker.topics.filter((it) => (it.lag_ms ?? 0) > LAG_LATE_MS);
  const known = useQuery(holds);
  const held = (known.data?.holds ?? []).filter((it) => it.worker === worker.worker).map((it) => it.action ?? "*");
  const perMinute = throughputOf(worker);
  const breakers = breakersOf(worker);
  const versions = [...new Set(alive.map((it) => it.version))];
  return (
    <Section title={<span className="row wrap"><Icon name={alive.length > 0 ? "workers" : "abandoned"} />{worker.worker}
      {alive.length === 0 ? <span className="state tone-parked">{t("workers.gone")}</span> : <span className="muted">{t("workers.instances", { count: alive.length })} · {versions.join(", ")}</span>}
      {versions.length > 1 && <span className="state tone-late">{t("workers.mixed")}</span>}
      {held.length > 0 && <span className="state tone-late"><Icon name="hold" size={12} />{t("workers.held", { actions: held.join(", ") })}</span>}</span>}
      actions={rights.operate && <Button icon="hold" onClick={() => onHold({ kind: "action", worker: worker.worker, actions: worker.actions.map((it) => it.action) })}>{t("holds.hold")}</Button>}>
      <dl className="worker-facts">
        <div><dt>{t("lag")}</dt><dd className={lag > LAG_LATE_MS ? "tone-late" : ""}><Lasting ms={lag} /></dd></div>
        <div><dt>{t("in_flight")}</dt><dd><Link to="/sagas" search={{ worker: worker.worker, status: "running" }}>{number(language, worker.open)}</Link></dd></div>
        <div><dt>{t("workers.throughput")}</dt><dd>{perMinute === null ? "–" : t("workers.per_minute", { count: number(language, perMinute) })}</dd></div>
        <div><dt>{t("workers.breakers")}</dt><dd className={breakers?.some((it) => it.state !== "closed") ? "tone-parked" : ""}><Breakers breakers={breakers} /></dd></div>
        <div className="grow"><dt>{t("actions")}</dt><dd>{worker.actions.map((it) => it.action).join(", ") || "–"}</dd></div>
      </dl>
      <div className="overview-two even">
        <div className="scroll-x">
          <table className="plain"><thead><tr><th scope="col">{t("workers.instance")}</th><th scope="col" className="wide">{t("version")}</th><th scope="col" className="right">{t("workers.answered")}</th><th scope="col">{t("workers.heartbeat")}</th></tr></thead>
            <tbody>{worker.instances.map((it) => <tr key={it.instance}><td><Id id={it.instance} />{!it.alive && <> <span className="state tone-parked">{t("workers.dead")}</span></>}</td><td className="wide">{it.version}</td><td className="right">{it.alive && it.answered_per_minute != null ? number(language, it.answered_per_minute) : "–"}</td><td><Ago at={it.at} /></td></tr>)}</tbody></table>
        </div>
        <details className="scroll-x" open={behind.length > 0}>
          <summary className="link">{behind.length > 0 ? t("workers.behind", { behind: behind.length, all: worker.topics.length }) : t("workers.caught_up", { count: worker.topics.length })}</summary>
          <table className="plain"><thead><tr><th scope="col">{t("workers.topic")}</th><th scope="col" className="right">{t("workers.reached")}</th><th scope="col" className="right">{t("lag")}</th></tr></thead>
            <tbody>{worker.topics.map((it) => <tr key={`${it.topic}/${it.partition}`}><td className="mono break">{it.topic}/{it.partition}</td><td className="right"><Ago at={it.reached} /></td><td className="right"><Lasting ms={it.lag_ms} /></td></tr>)}</tbody></table>
        </details>
      </div>
    </Section>
  );
}

/** Those that are open, or that all is well; that there are none, or that nobody says. */
function Breakers({ breakers }: { breakers: Breaker[] | null }) {
  const t = useT();
  if (breakers === null) return <span className="muted" title={t("workers.breakers.unsaid.about")}>{t("workers.breakers.unsaid")}</span>;
  const open = breakers.filter((it) => it.state !== "closed");
  if (breakers.length === 0) return <span className="muted" title={t("workers.breakers.none.about")}>{t("workers.breakers.none")}</span>;
  if (open.length === 0) return <span className="state tone-completed"><Icon name="completed" size={12} />{t("workers.breakers.closed")}</span>;
  return (
    <span className="row wrap">{open.map((it) => (
      <span key={it.action + it.direction} className={`state tone-${it.state === "open" ? "parked" : "late"}`} title={t("workers.breakers.about")}>
        <Icon name={it.state === "open" ? "abandoned" : "unknown"} size={12} />{it.action}: {term(t, "breaker", it.state)}{it.instances > 1 && ` ×${it.instances}`}{it.until && <> · {t("workers.breakers.until")} <Until at={it.until} /></>}
      </span>
    ))}</span>
  );
}

function Holds() {
  const t = useT();
  const rights = useRights();
  const asked = useQuery({ ...holds, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  // What is written to release one stays when somebody else releases it meanwhile; and it is no reason for another.
  const [releasing, setReleasing] = useState<Hold | null>(null);
  const kept = asked.data?.holds ?? [];
  return (
    <>
      <Unread of={asked} what={t("holds")} />
      {kept.length > 0 && (
        <Section title={t("holds")} flush>
          <ul>{kept.map((hold) => (
            <li key={hold.id} className="line spread">
              <span className="row wrap"><Icon name="hold" /><strong>{hold.kind === "starts" ? t("holds.starts") : hold.definition ?? `${hold.worker}.${hold.action ?? "*"}`}</strong><span className="muted">“{hold.why}” — {hold.by}, <Ago at={hold.at} />{hold.until && <> · {t("holds.until")} <Until at={hold.until} /></>} · {t("holds.back", { count: hold.held_back ?? 0 })}</span></span>
              {rights.operate && <Button onClick={() => setReleasing(hold)}>{t("holds.release")}</Button>}
            </li>
          ))}</ul>
        </Section>
      )}
      {releasing && <ReleaseDialog hold={releasing} onClose={() => setReleasing(null)} />}
    </>
  );
}

function ReleaseDialog({ hold, onClose }: { hold: Hold; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const release = useMutation({
    mutationFn: () => send("DELETE", `/ops/holds/${hold.id}?${new URLSearchParams({ why: why.trim() })}`),
    onSuccess: () => { onClose(); stale("holds", "workers", "overview", "saga"); },
  });
  return (
    <Dialog open onClose={onClose} title={t("holds.release")} description={<p>{t("holds.release.about", { count: hold.held_back ?? 0 })}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); release.mutate(); }}>
        <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={release.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={why.trim() === ""} busy={release.isPending}>{t("holds.release.go", { count: hold.held_back ?? 0 })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
