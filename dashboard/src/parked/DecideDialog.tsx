// The second pair of eyes: what is asked for, with what, and what it would do as the saga stands now; then yes or no.

import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";

import type { ActionRequest } from "../api/schema";
import { send } from "../api/client";
import type { Approval, SagaView } from "../api/contract";
import { saga as sagaQuery, useStale } from "../api/queries";
import { type T, term, useLanguage, useT } from "../i18n";
import { money } from "../i18n/format";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Changes, Undone, Unsettled } from "../saga/Consequences";
import { laneId } from "../saga/spans";
import { usePlans } from "../saga/usePlans";
import { short } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Json } from "../ui/Json";
import { Await, ProblemLine, Unread } from "../ui/Page";
import { told } from "./decided";

export type Decision = "approve" | "reject";

/** The action as it was asked for. */
function requestOf(approval: Approval): ActionRequest {
  return approval.action as ActionRequest;
}

/** What is asked for, and of which step and item. */
export function deedOf(approval: Approval, t: T): string {
  const { action, step, item } = requestOf(approval);
  const deed = term(t, "action", action);
  return step == null ? deed : `${deed}: ${laneId({ step, item: item ?? null })}`;
}

export function DecideDialog({ approval, decision, title, onClose }: { approval: Approval; decision: Decision; title: string; onClose: () => void }) {
  const t = useT();
  const language = useLanguage();
  const said = useSaid();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const asked = useQuery(sagaQuery(approval.saga));
  const decide = useMutation({
    mutationFn: () => send<Approval>("POST", `/ops/approvals/${approval.id}`, { decision, why: why.trim() }),
    onSuccess: (done) => {
      onClose();
      stale("approvals", "parked", "saga", "overview");
      const { key, reason, tone, icon } = told(done);
      toast(t(key, { reason: said(reason) }), tone, icon);
    },
  });
  const action = term(t, "action", requestOf(approval).action);
  const amount = approval.amount != null && approval.currency ? money(language, approval.amount, approval.currency) : "";
  return (
    <Dialog open onClose={onClose} wide title={title} description={<p>{approval.key ?? short(approval.saga)} · {approval.definition}<br />“{approval.why}” — {approval.asked_by}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); decide.mutate(); }}>
        <Brought request={requestOf(approval)} />
        <Await of={asked} rows={2}>{(saga) => <Would saga={saga} request={requestOf(approval)} />}</Await>
        <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={decide.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind={decision === "reject" ? "danger" : "primary"} disabled={why.trim() === ""} busy={decide.isPending}>{decision === "reject" ? t("approvals.reject") : t("approvals.go", { action, amount })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}

/** What whoever asked brought along: it is approved with the deed. */
function Brought({ request }: { request: ActionRequest }) {
  const t = useT();
  const part = (title: string, body: ReactNode) => <div><p><strong>{title}</strong></p>{body}</div>;
  return (
    <>
      {request.input != null && part(t("data.input"), <Json value={request.input} label={t("copy.input")} />)}
      {request.output != null && part(t("data.output"), <Json value={request.output} label={t("copy.output")} />)}
      {request.evidence && part(t("act.evidence"), <p className="break">{request.evidence}</p>)}
    </>
  );
}

/** What it would do to the saga as it stands now; and whether it still can. */
function Would({ saga, request }: { saga: SagaView; request: ActionRequest }) {
  const t = useT();
  const said = useSaid();
  const { plans, known, asked } = usePlans(saga);
  // The engine acts on what was looked at, and on nothing else.
  if (saga.revision !== request.revision) return <p className="state tone-parked" role="alert" style={{ whiteSpace: "normal" }}>{t("approvals.moved")}</p>;
  const plan = plans.find((it) => it.action === request.action && (it.step ?? null) === (request.step ?? null) && (it.item ?? null) === (request.item ?? null)
    && (request.direction == null || it.direction === request.direction));
  return (
    <>
      <Unread of={asked} what={t("actions")} />
      {plan?.consequence && <p>{said(plan.consequence)}</p>}
      {known && plan?.allowed === false && <p className="state tone-parked" role="alert" style={{ whiteSpace: "normal" }}>{t("moved.gone")} {said(plan.refused ?? "")}</p>}
      {request.action === "compensate" && <Undone saga={saga} />}
      {request.input != null && plan?.input != null && <Changes before={plan.input} after={request.input} />}
      {plan && <Unsettled plan={plan} />}
    </>
  );
}
