// A saga that went back is tried again, as a new one: what will run, and what must be brought anew.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import { writeExact } from "../api/exact";
import type { ReplayPlan, SagaView } from "../api/contract";
import { definition, replayPlan, useStale } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { BulkDialog } from "../jobs/BulkDialog";
import type { BulkSet } from "../jobs/deed";
import { Button, Check, Dialog, DialogEnd, Field, Input, Select, Textarea } from "../ui/Controls";
import { Await, ProblemLine } from "../ui/Page";
import { typedJson } from "../ui/typed";
import { SagaLink } from "./SagaLink";
import { moneyOf } from "./words";

export function ReplayDialog({ saga, onClose }: { saga: SagaView; onClose: () => void }) {
  const t = useT();
  const [version, setVersion] = useState<string | undefined>(undefined);
  const asked = useQuery(replayPlan(saga.saga, version));
  // What is written is the operator's, whichever version it is for.
  const [written, setWritten] = useState<Written>({ why: "", fresh: {}, edited: null });
  const [second, setSecond] = useState<BulkSet | null>(null);
  if (second !== null) return <BulkDialog set={second} onClose={onClose} />;
  return (
    <Dialog open onClose={onClose} wide title={t("replay")} description={<p>{t("replay.about")}</p>}>
      <Await of={asked}>{(plan) => <Plan key={plan.version} plan={plan} saga={saga} written={written} onWrite={(part) => setWritten((before) => ({ ...before, ...part }))} onVersion={setVersion} onSecond={setSecond} onClose={onClose} />}</Await>
    </Dialog>
  );
}

/** Only that it was seen what a version does is of that version. */
interface Written { why: string; fresh: Record<string, string>; edited: string | null }

/** `onSecond`: only a job replays it, which somebody else approves. */
function Plan({ plan, saga, written, onWrite, onVersion, onSecond, onClose }: { plan: ReplayPlan; saga: SagaView; written: Written; onWrite: (part: Partial<Written>) => void; onVersion: (version: string) => void; onSecond: (set: BulkSet) => void; onClose: () => void }) {
  const t = useT();
  const said = useSaid();
  const navigate = useNavigate();
  const stale = useStale();
  const { why, edited } = written;
  const fresh = asksFor(plan, written.fresh);
  const typed = useMemo(() => (edited === null ? null : typedJson(edited, t)), [edited, t]);
  const amount = moneyOf(saga, useLanguage());
  const [acknowledged, setAcknowledged] = useState(false);
  const start = useMutation({
    mutationFn: () => send<{ saga: string }>("POST", `/sagas/${plan.saga}/replay`, {
      why: why.trim(), version: plan.version, ...(typed === null ? {} : { input: typed.value }),
      ...(plan.fresh.length > 0 ? { fresh } : {}), ...(acknowledged ? { acknowledged } : {}),
    }),
    onSuccess: ({ saga }) => { stale("saga", "sagas"); onClose(); void navigate({ to: "/sagas/$id", params: { id: saga } }); },
  });
  const known = useQuery({ ...definition(plan.definition), retry: false });
  const versions = known.data?.versions ?? [{ version: plan.version, active: false }];
  const warnings = plan.warnings ?? [];
  const mustSee = warnings.length > 0;
  const unfilled = plan.fresh.some((it) => !fresh[it.pointer]?.trim());
  const missing = why.trim() === "" || unfilled || (typed !== null && typed.fault !== null);
  const what = (
    <>
      {!plan.allowed && <p className="saga-anomaly">{said(plan.refused ?? "")} {plan.replayed_by && <SagaLink id={plan.replayed_by} />}</p>}
      <Field label={t("replay.version")}>{(id) => (
        <Select id={id} value={plan.version} onChange={(event) => onVersion(event.target.value)}>
          {versions.map((it) => <option key={it.version} value={it.version}>{it.version.slice(0, 8)}{it.active ? ` (${t("active")})` : ""}</option>)}
        </Select>
      )}</Field>
      <table className="plain"><thead><tr><th scope="col">{t("step")}</th><th scope="col">{t("replay.was")}</th><th scope="col">{t("replay.plan")}</th></tr></thead>
        <tbody>{plan.steps.map((step) => <tr key={step.step}><td>{step.step}</td><td>{step.was ? term(t, "state", step.was) : "–"}</td><td>{term(t, "replay", step.plan)}</td></tr>)}</tbody>
      </table>
      {warnings.map((warning) => <p key={warning} className="state tone-late" style={{ whiteSpace: "normal" }}>{said(warning)}</p>)}
    </>
  );
  const anew = plan.fresh.map((it) => (
    <Field key={it.pointer} label={t("replay.fresh", { pointer: it.pointer })}>
      {(id) => <Input id={id} required value={fresh[it.pointer] ?? ""} onChange={(event) => onWrite({ fresh: { ...written.fresh, [it.pointer]: event.target.value } })} />}
    </Field>
  ));
  if (plan.approval) {
    return (
      <div className="stack">
        {what}
        <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status">{t("replay.approval")}</p>
        {anew}
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button kind="primary" disabled={!plan.allowed || unfilled} onClick={() => onSecond({ sagas: [plan.saga], kind: "replay", version: plan.version, must: mustSee, ...(why.trim() === "" ? {} : { why }), ...(plan.fresh.length > 0 ? { fresh: { [plan.saga]: fresh } } : {}) })}>{t("replay.approval.go")}</Button></DialogEnd>
      </div>
    );
  }
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); start.mutate(); }}>
      {what}
      {anew}
      {edited === null ? <div><button type="button" className="link" onClick={() => onWrite({ edited: writeExact(plan.input, 2) })}>{t("replay.edit")}</button></div>
        : <Field label={t("data.input")} error={typed?.fault}>{(id) => <Textarea id={id} className="mono" rows={10} spellCheck={false} value={edited} onChange={(event) => onWrite({ edited: event.target.value })} />}</Field>}
      <Field label={t("act.why")}>{(id) => <Textarea id={id} rows={2} required value={why} onChange={(event) => onWrite({ why: event.target.value })} />}</Field>
      {mustSee && <Check label={t("replay.ack")} checked={acknowledged} onChange={(event) => setAcknowledged(event.target.checked)} />}
      <ProblemLine error={start.error} />
      <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={!plan.allowed || missing || (mustSee && !acknowledged)} busy={start.isPending}>{amount === null ? t("replay.go") : t("replay.go.money", { amount })}</Button></DialogEnd>
    </form>
  );
}

/** Of what was brought anew, what this version asks for. */
function asksFor(plan: ReplayPlan, brought: Record<string, string>): Record<string, string> {
  return Object.fromEntries(plan.fresh.flatMap(({ pointer }) => (brought[pointer] === undefined ? [] : [[pointer, brought[pointer]]])));
}
