// One action on one saga: what it will do, what it needs, and what came of it.

import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import type { Acted, ActionPlan, SagaView } from "../api/contract";
import { asProblem } from "../api/problem";
import { useRights, useStale } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { money } from "../i18n/format";
import { toast } from "../layout/Toasts";
import { Button, Check, Dialog, DialogEnd, Field, Input, Textarea } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";
import { differences } from "./differences";
import { laneId } from "./spans";
import { givenName, keepName } from "./who";
import { deeds, wouldUndo } from "./words";

const WAIT_S = 5;

export function ActDialog({ saga, plan, revision, onClose }: { saga: SagaView; plan: ActionPlan; revision: number; onClose: () => void }) {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const stale = useStale();
  const [who, setWho] = useState(givenName);
  const [why, setWhy] = useState("");
  const [evidence, setEvidence] = useState("");
  const [acknowledged, setAcknowledged] = useState(false);
  const initial = useMemo(() => JSON.stringify(plan.action === "retry_edited" ? plan.input ?? saga.input : {}, null, 2), [plan, saga.input]);
  const [json, setJson] = useState(plan.action === "skip" ? "" : initial);
  // The same deed sent twice, by a double click or after a lost answer, is one.
  const [key] = useState(() => crypto.randomUUID());

  const needs = (what: string) => plan.needs.includes(what);
  const edits = needs("input") || needs("output");
  const parsed = useMemo(() => parse(json), [json]);
  const nameless = rights.me === undefined || rights.me.dev;
  const act = useMutation({
    mutationFn: () => {
      if (nameless) keepName(who);
      return send<Acted>("POST", `/sagas/${saga.saga}/actions`, {
        action: plan.action, why: why.trim(), revision,
        ...(nameless ? { who: who.trim() } : {}),
        ...(plan.step ? { step: plan.step } : {}), ...(plan.item == null ? {} : { item: plan.item }), ...(plan.direction ? { direction: plan.direction } : {}),
        ...(needs("input") ? { input: parsed.value } : {}), ...(needs("output") && json.trim() !== "" ? { output: parsed.value } : {}),
        ...(needs("evidence") ? { evidence: evidence.trim() } : {}), ...(needs("acknowledged") ? { acknowledged } : {}),
        ...(rights.me ? { wait_s: WAIT_S } : {}),
      }, { "idempotency-key": key });
    },
    onSuccess: (acted) => {
      stale("saga", "sagas", "parked", "overview", "counts", "approvals");
      const words = t(`acted.${acted.result}` as "acted.applied", { action: t(`action.${plan.action}`) });
      toast([words, acted.happened ?? acted.reason].filter(Boolean).join(" "), acted.result === "applied" ? "completed" : "retrying", acted.result === "applied" ? "completed" : "waiting");
      onClose();
    },
    onError: (error) => {
      // The saga moved on since it was looked at: what is shown is read again.
      if (asProblem(error).kind === "refused") stale("saga");
    },
  });
  const missing = why.trim() === "" || (nameless && who.trim() === "") || (needs("evidence") && evidence.trim() === "")
    || (needs("acknowledged") && !acknowledged) || (edits && json.trim() !== "" && parsed.fault !== null) || (needs("input") && json.trim() === "");
  const target = plan.step ? laneId({ step: plan.step, ...(plan.item === undefined ? {} : { item: plan.item }) }) : null;
  return (
    <Dialog open onClose={onClose} wide={edits} title={target ? `${t(`action.${plan.action}`)}: ${target}` : t(`action.${plan.action}`)}
      description={<p>{plan.consequence ?? t(`action.${plan.action}.about`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (!missing) act.mutate(); }}>
        {plan.approval && <p className="state tone-late" style={{ whiteSpace: "normal" }}>{t("act.approval")}</p>}
        {plan.action === "compensate" && <Undone saga={saga} />}
        {(plan.uncompensated?.length ?? 0) > 0 && <p><strong>{t("act.uncompensated")}</strong> {plan.uncompensated?.join(", ")}</p>}
        {(plan.may_take_effect?.length ?? 0) > 0 && <p><strong>{t("act.may_take_effect")}</strong> {plan.may_take_effect?.join(", ")}</p>}
        {edits && (
          <Field label={needs("input") ? t("act.input") : t("act.output")} hint={needs("output") ? t("act.output.hint") : undefined} error={json.trim() === "" ? undefined : parsed.fault}>
            {(id) => <Textarea id={id} className="mono" rows={10} spellCheck={false} value={json} onChange={(event) => setJson(event.target.value)} />}
          </Field>
        )}
        {needs("input") && parsed.fault === null && <Changes before={plan.input ?? saga.input} after={parsed.value} />}
        {needs("evidence") && <Field label={t("act.evidence")} hint={t("act.evidence.hint")}>{(id) => <Input id={id} required maxLength={1_000} value={evidence} onChange={(event) => setEvidence(event.target.value)} />}</Field>}
        {nameless && <Field label={t("act.who")} hint={t("act.who.hint")}>{(id) => <Input id={id} required maxLength={200} value={who} autoComplete="username" onChange={(event) => setWho(event.target.value)} />}</Field>}
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(id) => <Textarea id={id} required maxLength={1_000} rows={2} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        {needs("acknowledged") && <Check checked={acknowledged} onChange={(event) => setAcknowledged(event.target.checked)} label={t(plan.action === "abandon" ? "act.ack.abandon" : "act.ack.effect")} />}
        <ProblemLine error={act.error} />
        <DialogEnd>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button type="submit" kind={plan.action === "retry" || plan.action === "resume_compensation" ? "primary" : "danger"} disabled={missing} busy={act.isPending}>
            {t(plan.action === "compensate" && wouldUndo(saga).length === 0 ? "action.compensate.go.nothing" : `action.${plan.action}.go`, { step: target ?? "", amount: saga.amount != null && saga.currency ? money(language, saga.amount, saga.currency) : "", deeds: deeds(saga) })}
          </Button>
        </DialogEnd>
      </form>
    </Dialog>
  );
}

function Undone({ saga }: { saga: SagaView }) {
  const t = useT();
  const steps = wouldUndo(saga).reverse();
  if (steps.length === 0) return <p>{t("act.undo.nothing")}</p>;
  return (
    <div>
      <p><strong>{t("act.undo")}</strong></p>
      <ul>{steps.map((step) => <li key={laneId(step)}>⤺ {laneId(step)} <span className="muted">{step.worker}.{step.compensation}</span> {step.state !== "succeeded" && <span className="muted">({term(t, "state", step.state)})</span>}</li>)}</ul>
    </div>
  );
}

function Changes({ before, after }: { before: unknown; after: unknown }) {
  const t = useT();
  const found = differences(before, after);
  if (found.length === 0) return <p className="muted">{t("act.unchanged")}</p>;
  return (
    <table className="plain"><thead><tr><th scope="col">{t("act.where")}</th><th scope="col">{t("act.before")}</th><th scope="col">{t("act.after")}</th></tr></thead>
      <tbody>{found.map((it) => <tr key={it.pointer}><td className="mono">{it.pointer}</td><td className="mono break"><del>{it.before}</del></td><td className="mono break"><ins>{it.after}</ins></td></tr>)}</tbody>
    </table>
  );
}

function parse(text: string): { value: unknown; fault: string | null } {
  try {
    return { value: JSON.parse(text) as unknown, fault: null };
  } catch (error) {
    return { value: undefined, fault: error instanceof Error ? error.message : String(error) };
  }
}
