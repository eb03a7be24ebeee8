// What waits for a second pair of eyes.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { UNTOLD_MS, useInterval } from "../api/live";
import type { Approval } from "../api/contract";
import { approvals, jobs, useRights } from "../api/queries";
import { useLanguage, useT } from "../i18n";
import { amountOf } from "../jobs/deed";
import { jobTitle, unapproved } from "../jobs/JobsPage";
import { Ago, Amount, short } from "../ui/bits";
import { Button } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Section, Unread } from "../ui/Page";
import { type Decision, DecideDialog, deedOf } from "./DecideDialog";

export function Approvals() {
  const t = useT();
  const language = useLanguage();
  const asked = useQuery({ ...approvals, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  const all = useQuery({ ...jobs, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  const waiting = (all.data?.jobs ?? []).filter(unapproved);
  // Here, and not in its line: what is written stays also when somebody else decides meanwhile, and the line goes.
  const [asking, setAsking] = useState<Asking | null>(null);
  const open = asked.data?.approvals ?? [];
  return (
    <>
      <Unread of={asked} what={t("approvals")} />
      <Unread of={all} what={t("jobs")} />
      {open.length + waiting.length > 0 && (
        <Section flush title={t("approvals")}>
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
            {open.map((it) => <Line key={it.id} approval={it} onAsk={(decision) => setAsking({ approval: it, decision })} />)}
          </ul>
        </Section>
      )}
      {asking && <DecideDialog {...asking} title={deedOf(asking.approval, t)} onClose={() => setAsking(null)} />}
    </>
  );
}

interface Asking { approval: Approval; decision: Decision }

function Line({ approval, onAsk }: { approval: Approval; onAsk: (decision: Decision) => void }) {
  const t = useT();
  const rights = useRights();
  const own = rights.me !== undefined && !rights.me.dev && rights.me.principal === approval.asked_by;
  return (
    <li className="line parked-line">
      <span className="parked-amount"><Amount amount={approval.amount} currency={approval.currency} /></span>
      <div className="grow"><p><strong>{deedOf(approval, t)}</strong> · <Link to="/sagas/$id" params={{ id: approval.saga }}>{approval.key ?? short(approval.saga)}</Link></p><p className="muted break">“{approval.why}” — {approval.asked_by}, <Ago at={approval.asked_at} /></p></div>
      {rights.operate && (
        <div className="parked-do">
          <Button onClick={() => onAsk("reject")}>{t("approvals.reject")}</Button>
          <Button kind="primary" disabled={own} title={own ? t("approvals.own") : undefined} onClick={() => onAsk("approve")}>{t("approvals.approve")}</Button>
        </div>
      )}
    </li>
  );
}
