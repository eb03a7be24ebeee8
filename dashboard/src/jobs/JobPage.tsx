// One bulk job: how far it is, why it stopped, and what became of each saga.

import "./jobs.css";

import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";

import { send } from "../api/client";
import { useInterval } from "../api/live";
import type { Job, JobItem } from "../api/contract";
import { job as jobQuery, jobItems, useRights, useStale } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useBecause } from "../i18n/said";
import { Ago, Lasting, short } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Json } from "../ui/Json";
import { Await, Notice, Page, ProblemLine, Section } from "../ui/Page";
import { type Column, Table } from "../ui/Table";
import { amountOf, bulkDeed, jobDeed } from "./deed";
import { JobBadge, jobTitle, OUTCOMES, Progress, unapproved } from "./JobsPage";

export function JobPage() {
  const t = useT();
  const { id } = useParams({ from: "/jobs/$id" });
  const every = useInterval(1_000);
  const asked = useQuery({ ...jobQuery(id), refetchInterval: (query) => (query.state.data?.ended_at ? false : Math.min(every, 2_000)) });
  // Here, and not beside its button: what is written stays also when somebody else decides meanwhile, and the button goes.
  const [asking, setAsking] = useState<Asking | null>(null);
  useEffect(() => setAsking(null), [id]);
  return (
    <Page title={asked.data ? jobTitle(asked.data, t) : t("jobs")} lead={asked.data && <>{asked.data.by} · “{asked.data.why}” · <Ago at={asked.data.created_at} /></>} actions={asked.data && <Steering job={asked.data} onAsk={setAsking} />}>
      <Await of={asked}>{(job) => <Whole job={job} onAsk={setAsking} />}</Await>
      {asking && <Steer job={asked.data && can(asked.data, asking.verb) ? asked.data : asking.job} verb={asking.verb} onClose={() => setAsking(null)} />}
    </Page>
  );
}

function Whole({ job, onAsk }: { job: Job; onAsk: OnAsk }) {
  const t = useT();
  const language = useLanguage();
  const because = useBecause();
  const waits = unapproved(job);
  return (
    <>
      {waits && <Asked job={job} onAsk={onAsk} />}
      <Section title={<JobBadge job={job} />} actions={<span className="muted">{t("jobs.settings", { canary: job.canary, rate: job.rate_per_s, stop: job.stop_after_same })}</span>}>
        <div className="stack">
          <Progress job={job} />
          {(job.state === "canary" || job.state === "running") && job.counts.waiting > 0 && <p className="muted">{t("jobs.left")} <Lasting ms={(job.counts.waiting / Math.max(1, job.rate_per_s)) * 1_000} /></p>}
          {job.stalled && <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><Icon name="hold" size={12} />{t("jobs.stalled")} {because(job.stalled)}</p>}
          {job.approved_by && <p className="muted">{t("jobs.approved", { by: job.approved_by })}</p>}
          {job.stopped_because && <p className="job-stopped" role="status">{t("jobs.stopped")} {because(job.stopped_because)}</p>}
          {job.reasons.length > 0 && (
            <table className="plain"><thead><tr><th scope="col">{t("jobs.outcome")}</th><th scope="col">{t("jobs.reason")}</th><th scope="col" className="right">{t("sagas")}</th></tr></thead>
              <tbody>{job.reasons.map((it) => <tr key={it.outcome + it.reason}><td className="nowrap">{term(t, "outcome", it.outcome)}</td><td className="break">{because(it.reason)}</td><td className="right"><Link to="/jobs/$id" params={{ id: job.id }} search={{ outcome: it.outcome, reason: it.reason }}>{number(language, it.sagas)}</Link></td></tr>)}</tbody></table>
          )}
          {!waits && <Does job={job} />}
        </div>
      </Section>
      <Items job={job} />
    </>
  );
}

function Items({ job }: { job: Job }) {
  const t = useT();
  const because = useBecause();
  const navigate = useNavigate();
  const { outcome, reason } = useSearch({ from: "/jobs/$id" });
  const asked = useInfiniteQuery({ ...jobItems(job.id, { outcome, reason }), refetchInterval: job.ended_at ? false : 2_000 });
  // What became of the last ones is known once it has ended: then they are read for the last time.
  const { refetch } = asked;
  const open = useRef(!job.ended_at);
  useEffect(() => {
    if (!job.ended_at || !open.current) return;
    open.current = false;
    void refetch();
  }, [job.ended_at, refetch]);
  const rows = useMemo(() => asked.data?.pages.flatMap((page) => page.items), [asked.data]);
  const columns = useMemo<Column<JobItem>[]>(() => [
    { id: "number", head: "#", width: "52px", right: true, wide: true, cell: (row) => row.number },
    { id: "key", head: t("key"), width: "minmax(110px, 1fr)", cell: (row) => <Link to="/sagas/$id" params={{ id: row.saga }}>{row.key ?? short(row.saga)}</Link> },
    { id: "words", head: t("jobs.outcome"), width: "minmax(140px, 2fr)", cell: (row) => <span title={row.words ?? undefined}>{row.words ? because(row.words) : term(t, "outcome", row.outcome)}</span> },
    { id: "new", head: t("jobs.new"), width: "130px", wide: true, cell: (row) => row.new_saga ? <Link className="mono" to="/sagas/$id" params={{ id: row.new_saga }}>{short(row.new_saga)}</Link> : "" },
    { id: "at", head: t("when"), width: "100px", right: true, wide: true, cell: (row) => row.at ? <Ago at={row.at} /> : "" },
  ], [t, because]);
  return (
    <Section flush title={t("sagas")} actions={(["", ...OUTCOMES] as const).map((it) => (
      <button key={it} type="button" className="link" aria-pressed={(outcome ?? "") === it} onClick={() => void navigate({ to: "/jobs/$id", params: { id: job.id }, search: it ? { outcome: it } : {}, replace: true })}>
        {(outcome ?? "") === it ? <strong>{it ? term(t, "outcome", it) : t("all")}</strong> : it ? term(t, "outcome", it) : t("all")}
      </button>
    ))}>
      {reason !== undefined && (
        <p className="line row wrap"><span className="chip"><span className="muted">{t("jobs.reason")}:</span>{because(reason)}
          <button type="button" aria-label={t("filter.remove", { name: t("jobs.reason") })} onClick={() => void navigate({ to: "/jobs/$id", params: { id: job.id }, search: { outcome }, replace: true })}><Icon name="close" size={10} /></button></span></p>
      )}
      <Await of={{ ...asked, data: rows }}>{(list) => (
        <Table label={t("sagas")} rows={list} columns={columns} rowKey={(row) => String(row.number)} onEnd={() => { if (asked.hasNextPage && !asked.isFetchingNextPage) void asked.fetchNextPage(); }}
          onOpen={(row) => void navigate({ to: "/sagas/$id", params: { id: row.new_saga ?? row.saga } })} empty={<Notice icon="list" title={t("list.nothing")} />} />
      )}</Await>
    </Section>
  );
}

type Verb = "pause" | "resume" | "cancel" | "approve";
/** What is asked for, and the job as it was then. */
interface Asking { verb: Verb; job: Job }
type OnAsk = (asking: Asking) => void;

const going = (job: Job) => job.state === "canary" || job.state === "running";

function can(job: Job, verb: Verb): boolean {
  if (verb === "approve") return unapproved(job);
  return job.state !== "done" && job.state !== "cancelled" && (verb === "cancel" || going(job) === (verb === "pause"));
}

/** What a second person has to know, and then decides on. */
function Asked({ job, onAsk }: { job: Job; onAsk: OnAsk }) {
  const t = useT();
  const rights = useRights();
  const own = job.by === rights.me?.principal;
  return (
    <Section title={t("jobs.asked")}>
      <div className="stack">
        <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><Icon name="waiting" size={12} />{t("jobs.unapproved", { count: job.counts.awaiting_approval, by: job.by })}</p>
        <Does job={job} />
        {rights.operate && <div><Button kind={job.action === "abandon" ? "danger" : "primary"} disabled={own} title={own ? t("approvals.own") : undefined} onClick={() => onAsk({ verb: "approve", job })}>{t("jobs.approve")}</Button>{own && <span className="muted"> {t("approvals.own")}</span>}</div>}
      </div>
    </Section>
  );
}

/** What it was told to do, and with how much money behind it. */
function Does({ job }: { job: Job }) {
  const t = useT();
  const language = useLanguage();
  const filter = job.filter == null ? null : Object.fromEntries(new URLSearchParams(job.filter));
  return (
    <dl className="facts">
      <dt>{t("bulk.what")}</dt><dd>{jobDeed(job, t)} · {t("count.sagas", { count: job.counts.total })}</dd>
      <dt>{t("jobs.amount")}</dt><dd>{amountOf(job, language) ?? <span className="muted">{t("bulk.no_amount")}</span>}</dd>
      {filter && <><dt>{t("jobs.filter")}</dt><dd className="break"><Link className="mono" to="/sagas" search={filter}>{Object.entries(filter).map(([name, value]) => `${name}:${value}`).join(" ")}</Link></dd></>}
      {job.version && <><dt>{t("replay.version")}</dt><dd className="mono">{job.version.slice(0, 8)}</dd></>}
      {(job.fresh?.length ?? 0) > 0 && <><dt>{t("jobs.fresh")}</dt><dd className="mono break">{job.fresh?.join(", ")}</dd></>}
      {job.merge != null && <><dt>{t("jobs.merge")}</dt><dd className="grow"><Json value={job.merge} /></dd></>}
      {job.acknowledged && <><dt>{t("jobs.acknowledged")}</dt><dd>{t(job.kind === "replay" ? "jobs.acknowledged.replay" : "jobs.acknowledged.abandon", { by: job.by })}</dd></>}
    </dl>
  );
}

function Steering({ job, onAsk }: { job: Job; onAsk: OnAsk }) {
  const t = useT();
  const rights = useRights();
  if (!rights.operate || !can(job, "cancel")) return null;
  return (
    <>
      {going(job) ? <Button icon="hold" onClick={() => onAsk({ verb: "pause", job })}>{t("jobs.pause")}</Button> : <Button kind="primary" icon="simulator" onClick={() => onAsk({ verb: "resume", job })}>{t("jobs.resume")}</Button>}
      <Button kind="ghost" onClick={() => onAsk({ verb: "cancel", job })}>{t("jobs.cancel")}</Button>
    </>
  );
}

function Steer({ job, verb, onClose }: { job: Job; verb: Verb; onClose: () => void }) {
  const t = useT();
  const language = useLanguage();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const steer = useMutation({
    mutationFn: () => send<Job>("POST", `/ops/jobs/${job.id}/${verb}`, { why: why.trim() }),
    onSuccess: () => { stale("jobs", "overview"); onClose(); },
  });
  const left = job.counts.waiting + job.counts.awaiting_approval;
  // What the money of a part is nobody has summed: the whole set's is the most that it can be.
  const amount = amountOf(job, language);
  const most = amount === null ? t("bulk.no_amount") : job.counts.awaiting_approval === job.counts.total ? amount : t("jobs.up_to", { amount });
  const go = verb === "approve" ? t("jobs.approve.go", { deed: bulkDeed(job, t, job.counts.awaiting_approval, most) }) : verb === "pause" ? t("jobs.pause") : t(`jobs.${verb}.go`, { count: verb === "resume" ? job.counts.waiting : left });
  return (
    <Dialog open onClose={onClose} title={t(`jobs.${verb}`)} description={<p>{t(`jobs.${verb}.about`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); steer.mutate(); }}>
        <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={steer.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind={verb === "cancel" || (verb === "approve" && job.action !== "retry" && job.kind !== "replay") ? "danger" : "primary"} disabled={why.trim() === ""} busy={steer.isPending}>{go}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
