// One bulk job: how far it is, why it stopped, and what became of each saga.

import "./jobs.css";

import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import { useInterval } from "../api/live";
import type { Job, JobItem } from "../api/contract";
import { job as jobQuery, jobItems, useRights, useStale } from "../api/queries";
import { term, useT } from "../i18n";
import { useBecause } from "../i18n/said";
import { Ago, Lasting, short } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Await, Notice, Page, ProblemLine, Section } from "../ui/Page";
import { type Column, Table } from "../ui/Table";
import { JobBadge, jobTitle, OUTCOMES, Progress, unapproved } from "./JobsPage";

export function JobPage() {
  const t = useT();
  const { id } = useParams({ from: "/jobs/$id" });
  const every = useInterval(1_000);
  const asked = useQuery({ ...jobQuery(id), refetchInterval: (query) => (query.state.data?.ended_at ? false : Math.min(every, 2_000)) });
  return (
    <Page title={asked.data ? jobTitle(asked.data, t) : t("jobs")} lead={asked.data && <>{asked.data.by} · “{asked.data.why}” · <Ago at={asked.data.created_at} /></>} actions={asked.data && <Steering job={asked.data} />}>
      <Await of={asked}>{(job) => <Whole job={job} />}</Await>
    </Page>
  );
}

function Whole({ job }: { job: Job }) {
  const t = useT();
  const because = useBecause();
  return (
    <>
      <Section title={<JobBadge job={job} />} actions={<span className="muted">{t("jobs.settings", { canary: job.canary, rate: job.rate_per_s, stop: job.stop_after_same })}</span>}>
        <div className="stack">
          <Progress job={job} />
          {(job.state === "canary" || job.state === "running") && job.counts.waiting > 0 && <p className="muted">{t("jobs.left")} <Lasting ms={(job.counts.waiting / Math.max(1, job.rate_per_s)) * 1_000} /></p>}
          {unapproved(job) && <p className="job-stopped" role="status">{t("jobs.unapproved", { sagas: job.counts.awaiting_approval, by: job.by })}</p>}
          {job.approved_by && <p className="muted">{t("jobs.approved", { by: job.approved_by })}</p>}
          {job.stopped_because && <p className="job-stopped" role="status">{t("jobs.stopped")} {because(job.stopped_because)}</p>}
          {job.reasons.length > 0 && (
            <table className="plain"><thead><tr><th scope="col">{t("jobs.outcome")}</th><th scope="col">{t("jobs.reason")}</th><th scope="col" className="right">{t("sagas")}</th></tr></thead>
              <tbody>{job.reasons.map((it) => <tr key={it.outcome + it.reason}><td className="nowrap">{term(t, "outcome", it.outcome)}</td><td className="break">{because(it.reason)}</td><td className="right">{it.sagas}</td></tr>)}</tbody></table>
          )}
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
  const { outcome } = useSearch({ from: "/jobs/$id" });
  const asked = useInfiniteQuery({ ...jobItems(job.id, outcome), refetchInterval: job.ended_at ? false : 2_000 });
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
      <Await of={{ ...asked, data: rows }}>{(list) => (
        <Table label={t("sagas")} rows={list} columns={columns} rowKey={(row) => String(row.number)} onEnd={() => { if (asked.hasNextPage && !asked.isFetchingNextPage) void asked.fetchNextPage(); }}
          onOpen={(row) => void navigate({ to: "/sagas/$id", params: { id: row.new_saga ?? row.saga } })} empty={<Notice icon="list" title={t("list.nothing")} />} />
      )}</Await>
    </Section>
  );
}

function Steering({ job }: { job: Job }) {
  const t = useT();
  const rights = useRights();
  const stale = useStale();
  const [asking, setAsking] = useState<"pause" | "resume" | "cancel" | "approve" | null>(null);
  const [why, setWhy] = useState("");
  const steer = useMutation({
    mutationFn: (verb: string) => send<Job>("POST", `/ops/jobs/${job.id}/${verb}`, { why: why.trim() }),
    onSuccess: () => { setAsking(null); setWhy(""); stale("jobs"); },
  });
  if (!rights.operate || job.state === "done" || job.state === "cancelled") return null;
  const going = job.state === "canary" || job.state === "running";
  return (
    <>
      {going ? <Button icon="hold" onClick={() => setAsking("pause")}>{t("jobs.pause")}</Button> : <Button kind="primary" icon="simulator" onClick={() => setAsking("resume")}>{t("jobs.resume")}</Button>}
      {unapproved(job) && job.by !== rights.me?.principal && <Button kind="primary" onClick={() => setAsking("approve")}>{t("jobs.approve")}</Button>}
      <Button kind="ghost" onClick={() => setAsking("cancel")}>{t("jobs.cancel")}</Button>
      <Dialog open={asking !== null} onClose={() => setAsking(null)} title={asking ? t(`jobs.${asking}`) : ""} description={<p>{asking ? t(`jobs.${asking}.about`) : ""}</p>}>
        <form className="stack" onSubmit={(event) => { event.preventDefault(); if (asking) steer.mutate(asking); }}>
          <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
          <ProblemLine error={steer.error} />
          <DialogEnd><Button onClick={() => setAsking(null)}>{t("cancel")}</Button><Button type="submit" kind={asking === "cancel" ? "danger" : "primary"} disabled={why.trim() === ""} busy={steer.isPending}>{asking ? t(`jobs.${asking}`) : ""}</Button></DialogEnd>
        </form>
      </Dialog>
    </>
  );
}
