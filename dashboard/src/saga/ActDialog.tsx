// One action on one saga: what it will do, what it needs, and what came of it.

import { useMutation } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";

import { send } from "../api/client";
import type { Acted, ActionPlan, SagaView } from "../api/contract";
import { asProblem } from "../api/problem";
import { useRights, useStale } from "../api/queries";
import { unique } from "../api/unique";
import { useLanguage, useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Button, Check, Dialog, DialogEnd, Field, Input, Textarea } from "../ui/Controls";
import { ProblemLine, Unread, useUnread } from "../ui/Page";
import { StateBadge } from "../ui/State";
import { typedJson } from "../ui/typed";
import { came } from "./acted";
import { Changes, Undone, Unsettled } from "./Consequences";
import { type Move, moved, triedOnly } from "./moved";
import { firstText } from "./plans";
import { laneId } from "./spans";
import { type Plans, sameDeed, usePlans } from "./usePlans";
import { givenName, keepName } from "./who";
import { goes } from "./words";

const WAIT_S = 5;

/** `saga` is the saga as it is now; `plan` and `revision` are what the operator chose. */
export function ActDialog({ saga: now, plan: chosen, revision: of, onClose }: { saga: SagaView; plan: ActionPlan; revision: number; onClose: () => void }) {
  const t = useT();
  const language = useLanguage();
  const said = useSaid();
  const rights = useRights();
  const stale = useStale();
  // What is decided on. The saga may move on behind the dialog; then it is looked at, and decided, again.
  const [looked, setLooked] = useState({ saga: now, plan: chosen, revision: of });
  const { saga, plan, revision } = looked;
  const { has, moves, again, asked } = useMoved(now, looked, setLooked);
  const [who, setWho] = useState(givenName);
  const [why, setWhy] = useState("");
  const [evidence, setEvidence] = useState("");
  const [acknowledged, setAcknowledged] = useState(false);
  const [json, setJson] = useState(() => firstText(plan));
  // The same deed sent twice, by a double click or after a lost answer, is one; decided again it is another.
  const key = useMemo(() => `${unique()}-${revision}`, [revision]);

  const needs = (what: string) => plan.needs.includes(what);
  const edits = needs("input") || needs("output");
  const parsed = useMemo(() => typedJson(json, t), [json, t]);
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
      const { key: word, tone, icon } = came(acted, plan, saga.phase);
      toast([t(word, { action: t(`action.${plan.action}`) }), said(acted.happened ?? acted.reason ?? "")].filter(Boolean).join(" "), tone, icon);
      onClose();
    },
    onError: (error) => {
      // The saga moved on since it was looked at: what is shown is read again.
      if (asProblem(error).kind === "refused") stale("saga");
    },
  });
  const missing = has || why.trim() === "" || (nameless && who.trim() === "") || (needs("evidence") && evidence.trim() === "")
    || (needs("acknowledged") && !acknowledged) || (edits && json.trim() !== "" && parsed.fault !== null) || (needs("input") && json.trim() === "");
  const target = plan.step ? laneId({ step: plan.step, ...(plan.item === undefined ? {} : { item: plan.item }) }) : null;
  return (
    <Dialog open onClose={onClose} wide={edits} title={target ? `${t(`action.${plan.action}`)}: ${target}` : t(`action.${plan.action}`)}
      description={<p>{plan.consequence ? said(plan.consequence) : t(`action.${plan.action}.about`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (!missing) act.mutate(); }}>
        {plan.approval && <p className="state tone-late" style={{ whiteSpace: "normal" }}>{t("act.approval")}</p>}
        {plan.action === "compensate" && <Undone saga={saga} />}
        <Unsettled plan={plan} />
        {edits && (
          <Field label={needs("input") ? t("act.input") : t("act.output")} hint={needs("output") ? t("act.output.hint") : undefined} error={json.trim() === "" ? undefined : parsed.fault}>
            {(id) => <Textarea id={id} className="mono" rows={10} spellCheck={false} value={json} onChange={(event) => setJson(event.target.value)} />}
          </Field>
        )}
        {needs("input") && parsed.fault === null && <Changes before={plan.input ?? undefined} after={parsed.value} />}
        {needs("evidence") && <Field label={t("act.evidence")} hint={t("act.evidence.hint")}>{(id) => <Input id={id} required maxLength={1_000} value={evidence} onChange={(event) => setEvidence(event.target.value)} />}</Field>}
        {nameless && <Field label={t("act.who")} hint={t("act.who.hint")}>{(id) => <Input id={id} required maxLength={200} value={who} autoComplete="username" onChange={(event) => setWho(event.target.value)} />}</Field>}
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(id) => <Textarea id={id} required maxLength={1_000} rows={2} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        {needs("acknowledged") && <Check checked={acknowledged} onChange={(event) => setAcknowledged(event.target.checked)} label={t(plan.action === "abandon" ? "act.ack.abandon" : "act.ack.effect")} />}
        {has ? <Moved moves={moves} again={again} asked={asked} onAgain={() => act.reset()} /> : <ProblemLine error={act.error} />}
        <DialogEnd>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button type="submit" kind={plan.action === "retry" || plan.action === "resume_compensation" ? "primary" : "danger"} disabled={missing} busy={act.isPending}>
            {goes(plan.action, saga, target, t, language)}
          </Button>
        </DialogEnd>
      </form>
    </Dialog>
  );
}

interface Looked { saga: SagaView; plan: ActionPlan; revision: number }
/** What the same deed is now: not known yet, not possible any more (and why), or another decision. */
type Again = { state: "asking" } | { state: "gone"; why: string | undefined } | { state: "allowed"; decide: () => void };

function useMoved(now: SagaView, looked: Looked, setLooked: (looked: Looked) => void): { has: boolean; moves: Move[]; again: Again; asked: Plans["asked"] } {
  const { plans, revision, known, asked } = usePlans(now);
  const has = now.revision > looked.revision;
  const moves = useMemo(() => moved(looked.saga, now), [looked.saga, now]);
  const same = sameDeed(plans, looked.plan);
  // One more try of what is tried anyway changes nothing that was decided.
  const follows = has && known && same !== undefined && triedOnly(moves) && JSON.stringify(same) === JSON.stringify(looked.plan);
  useEffect(() => {
    if (follows) setLooked({ saga: now, plan: same, revision });
  }, [follows, now, same, revision, setLooked]);
  const again: Again = !known ? { state: "asking" }
    : same?.allowed ? { state: "allowed", decide: () => setLooked({ saga: now, plan: same, revision }) }
    : { state: "gone", why: same?.refused ?? undefined };
  return { has: has && !follows, moves, again, asked };
}

/** What changed since it was looked at, and whether the deed can still be decided on. */
function Moved({ moves, again, asked, onAgain }: { moves: Move[]; again: Again; asked: Plans["asked"]; onAgain: () => void }) {
  const t = useT();
  const unknown = useUnread(asked);
  const said = useSaid();
  const tried = (attempt: number) => (attempt > 1 ? ` (${t("try_number", { attempt })})` : "");
  return (
    <div className="moved tone-late" role="alert">
      <p><strong>{t("moved")}</strong></p>
      <ul>{moves.map((move) => (
        <li key={move.step ?? ""} className="row wrap">
          <span>{move.step ?? t("saga")}:</span><StateBadge state={move.before.state} quiet />{tried(move.before.attempt)}→<StateBadge state={move.after.state} quiet />{tried(move.after.attempt)}
        </li>
      ))}</ul>
      {again.state === "asking" && (unknown ? <Unread of={asked} what={t("actions")} /> : <p>{t("loading")}</p>)}
      {again.state === "gone" && <p>{t("moved.gone")} {said(again.why ?? "")}</p>}
      {again.state === "allowed" && <p className="row wrap"><span>{t("moved.again")}</span><Button onClick={() => { onAgain(); again.decide(); }}>{t("moved.look")}</Button></p>}
    </div>
  );
}
