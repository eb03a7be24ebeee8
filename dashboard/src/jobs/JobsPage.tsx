// Did it work? Every bulk job with what became of its sagas.

import "./jobs.css";

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useInterval } from "../api/live";
import type { Job, Outcome } from "../api/contract";
import { jobs } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useBecause } from "../i18n/said";
import { Ago } from "../ui/bits";
import { Icon } from "../ui/Icon";
import { Await, Notice, Page, Section } from "../ui/Page";
import { StateBadge } from "../ui/State";
import { amountOf, jobDeed } from "./deed";

export const OUTCOMES: Outcome[] = ["succeeded", "failed_again", "changed", "refused", "awaiting_approval", "acting", "waiting"];

export function JobsPage() {
  const t = useT();
  const asked = useQuery({ ...jobs, refetchInterval: useInterval() });
  return (
    <Page title={t("jobs")} lead={t("jobs.lead")}>
      <Section flush label={t("jobs")}>
        <Await of={asked}>{({ jobs: list }) => list.length === 0
          ? <Notice icon="jobs" title={t("jobs.none")}>{t("jobs.none.do")}</Notice>
          : <ul>{list.map((job) => <Line key={job.id} job={job} />)}</ul>}</Await>
      </Section>
    </Page>
  );
}

function Line({ job }: { job: Job }) {
  const t = useT();
  const amount = amountOf(job, useLanguage());
  const because = useBecause();
  return (
    <li className="job-line">
      <div className="spread wrap">
        <span className="row wrap"><JobBadge job={job} /><Link to="/jobs/$id" params={{ id: job.id }}><strong>{jobTitle(job, t)}</strong></Link>{amount !== null && <span>{amount}</span>}<span className="muted">{job.by} · “{job.why}”</span></span>
        <Ago at={job.created_at} />
      </div>
      <Progress job={job} />
      {unapproved(job) && <p className="state tone-late" style={{ whiteSpace: "normal" }}><Icon name="waiting" size={12} />{t("jobs.unapproved", { count: job.counts.awaiting_approval, by: job.by })}</p>}
      {job.stalled && <p className="state tone-late" style={{ whiteSpace: "normal" }}><Icon name="hold" size={12} />{t("jobs.stalled")} {because(job.stalled)}</p>}
      {job.stopped_because && <p className="job-stopped">{because(job.stopped_because)}</p>}
    </li>
  );
}

export function jobTitle(job: Job, t: ReturnType<typeof useT>): string {
  return job.name ?? `${jobDeed(job, t)} · ${t("count.sagas", { count: job.counts.total })}`;
}

/** Whether sagas of it wait for a second person. */
export const unapproved = (job: Job) => job.counts.awaiting_approval > 0 && job.approved_by == null && job.ended_at == null;

const STATES: Record<Job["state"], string> = { canary: "running", running: "running", paused: "waiting", stopped: "parked", done: "completed", cancelled: "abandoned" };

export function JobBadge({ job }: { job: Job }) {
  const t = useT();
  // The job's own word, in the look of the saga state that it resembles; where nothing goes on before its approval, that.
  const held = unapproved(job) && job.counts.waiting + job.counts.acting === 0;
  return <span className="job-badge"><StateBadge state={held ? "waiting" : STATES[job.state]} quiet /><span className="hidden-visually">{t("jobs.state")}</span> {held ? term(t, "outcome", "awaiting_approval") : term(t, "job", job.state)}</span>;
}

export function Progress({ job }: { job: Job }) {
  const t = useT();
  const language = useLanguage();
  const total = Math.max(1, job.counts.total);
  return (
    <div>
      <div className="progress" role="img" aria-label={OUTCOMES.map((it) => `${term(t, "outcome", it)} ${job.counts[it]}`).join(", ")}>
        {OUTCOMES.map((it) => job.counts[it] > 0 && <span key={it} className={`progress-${it}`} style={{ width: `${(job.counts[it] / total) * 100}%` }} />)}
      </div>
      <p className="row wrap job-counts">
        {OUTCOMES.map((it) => job.counts[it] > 0 && (
          <Link key={it} to="/jobs/$id" params={{ id: job.id }} search={{ outcome: it }} className="job-count"><span className={`swatch progress-${it}`} />{term(t, "outcome", it)} {number(language, job.counts[it])}</Link>
        ))}
      </p>
    </div>
  );
}
