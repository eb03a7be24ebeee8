// What waits for a second pair of eyes.

import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { send } from "../api/client";
import { UNTOLD_MS, useInterval } from "../api/live";
import type { Approval } from "../api/contract";
import { approvals, jobs, useRights, useStale } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { money } from "../i18n/format";
import { amountOf } from "../jobs/deed";
import { jobTitle, unapproved } from "../jobs/JobsPage";
import { toast } from "../layout/Toasts";
import { Ago, Amount, short } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { ProblemLine, Section, Unread } from "../ui/Page";

export function Approvals() {
  const t = useT();
  const language = useLanguage();
  const asked = useQuery({ ...approvals, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  const all = useQuery({ ...jobs, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  const waiting = (all.data?.jobs ?? []).filter(unapproved);
  const unknown = <><Unread of={asked} what={t("approvals")} /><Unread of={all} what={t("jobs")} /></>;
  if ((asked.data?.approvals.length ?? 0) + waiting.length === 0) return unknown;
  return (
    <Section flush title={t("approvals")}>
      {unknown}
      <ul>
        {waiting.map((job) => (
          <li key={job.id} className="line parked-line">
            <span className="parked-amount">{amountOf(job, language)}</span>
            <div className="grow">
              <p><strong><Link to="/jobs/$id" params={{ id: job.id }}>{jobTitle(job, t)}</Link></strong></p>
              <p className="muted break">“{job.why}” — {t("jobs.unapproved", { count: job.counts.awaiting_approval, by: job.by })}</p>
            </div>
            <div className="parked-do"><Link className="button" to="/jobs/$id" params={{ id: job.id }}><Icon name="right" />{t("suggest.look")}</Link></div>
          </li>
        ))}
        {asked.data?.approvals.map((it) => <Line key={it.id} approval={it} />)}
      </ul>
    </Section>
  );
}

function Line({ approval }: { approval: Approval }) {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const stale = useStale();
  const [asking, setAsking] = useState<"approve" | "reject" | null>(null);
  const [why, setWhy] = useState("");
  // Why one approves is no reason to reject.
  const close = () => { setAsking(null); setWhy(""); decide.reset(); };
  const decide = useMutation({
    mutationFn: (decision: "approve" | "reject") => send<Approval>("POST", `/ops/approvals/${approval.id}`, { decision, why: why.trim() }),
    onSuccess: (done) => { close(); stale("approvals", "parked", "saga", "overview"); toast(t(done.state === "approved" ? "approvals.approved" : "approvals.rejected")); },
  });
  const asked = approval.action as Record<string, unknown>;
  const action = term(t, "action", String(asked["action"] ?? ""));
  const step = asked["step"] == null ? "" : `: ${String(asked["step"])}`;
  const amount = approval.amount != null && approval.currency ? money(language, approval.amount, approval.currency) : "";
  const own = rights.me !== undefined && !rights.me.dev && rights.me.principal === approval.asked_by;
  return (
    <li className="line parked-line">
      <span className="parked-amount"><Amount amount={approval.amount} currency={approval.currency} /></span>
      <div className="grow"><p><strong>{action}{step}</strong> · <Link to="/sagas/$id" params={{ id: approval.saga }}>{approval.key ?? short(approval.saga)}</Link></p><p className="muted break">“{approval.why}” — {approval.asked_by}, <Ago at={approval.asked_at} /></p></div>
      {rights.operate && (
        <div className="parked-do">
          <Button onClick={() => setAsking("reject")}>{t("approvals.reject")}</Button>
          <Button kind="primary" disabled={own} title={own ? t("approvals.own") : undefined} onClick={() => setAsking("approve")}>{t("approvals.approve")}</Button>
        </div>
      )}
      <Dialog open={asking !== null} onClose={close} title={`${action}${step}`} description={<p>“{approval.why}” — {approval.asked_by}</p>}>
        <form className="stack" onSubmit={(event) => { event.preventDefault(); if (asking) decide.mutate(asking); }}>
          <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
          <ProblemLine error={decide.error} />
          <DialogEnd><Button onClick={close}>{t("cancel")}</Button><Button type="submit" kind={asking === "reject" ? "danger" : "primary"} disabled={why.trim() === ""} busy={decide.isPending}>{asking === "reject" ? t("approvals.reject") : t("approvals.go", { action, amount })}</Button></DialogEnd>
        </form>
      </Dialog>
    </li>
  );
}
