// Many sagas at once: the set is previewed before it is frozen, a canary goes first, and it runs on the server.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import type { ActionName, Job, JobPreview, JobRequest } from "../api/contract";
import { asProblem } from "../api/problem";
import { useStale } from "../api/queries";
import { unique } from "../api/unique";
import { useLanguage, useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { Button, Check, Dialog, DialogEnd, Field, Input, Select, Textarea } from "../ui/Controls";
import { Await, ProblemLine } from "../ui/Page";
import { acknowledgement, amounts, bound, bulkDeed, type BulkSet, choose, type Chosen, NO_STEP } from "./deed";

const ACTIONS: ActionName[] = ["retry", "compensate", "resume_compensation", "abandon"];
const CANARY = 10;
const RATE_PER_S = 50;
const STOP_AFTER_SAME = 5;

export function BulkDialog({ set, onClose }: { set: BulkSet; onClose: () => void }) {
  const t = useT();
  const language = useLanguage();
  const said = useSaid();
  const navigate = useNavigate();
  const stale = useStale();
  const [chosen, setChosen] = useState<Chosen>({ kind: set.kind ?? "action", action: set.action ?? "retry", acknowledged: false });
  const { kind, action, acknowledged } = chosen;
  const [why, setWhy] = useState(set.why ?? "");
  const [canary, setCanary] = useState(CANARY);
  const [rate, setRate] = useState(RATE_PER_S);
  const [stopAfter, setStopAfter] = useState(STOP_AFTER_SAME);
  const request = useMemo<JobRequest>(() => ({
    kind, ...(kind === "action" ? { action } : set.version === undefined ? {} : { version: set.version }), ...(kind === "replay" && set.fresh ? { fresh: set.fresh } : {}), ...(set.filter === undefined ? {} : { filter: set.filter }), ...(set.sagas ? { sagas: set.sagas } : {}),
    why: why.trim(), canary, rate_per_s: rate, stop_after_same: stopAfter, ...(acknowledged ? { acknowledged } : {}), ...(set.name ? { name: set.name } : {}),
  }), [kind, action, set, why, canary, rate, stopAfter, acknowledged]);
  const preview = useQuery({
    queryKey: ["job-preview", kind, action, set.filter, set.sagas, set.version],
    queryFn: () => send<JobPreview>("POST", "/ops/jobs/preview", { ...request, why: t("bulk.preview") }),
    retry: false,
    staleTime: 0,
  });
  // One job a dialog, however often it is clicked and whatever answer was lost on its way.
  const [key] = useState(unique);
  const start = useMutation({
    mutationFn: () => send<Job>("POST", "/ops/jobs", { ...request, ...bound(set, preview.data) }, { "idempotency-key": key }),
    // The set may have grown behind the button's number: it is looked at, and decided on, again.
    onError: (error) => { if (asProblem(error).kind === "invalid") void preview.refetch(); },
    onSuccess: (job) => { stale("jobs", "sagas"); onClose(); void navigate({ to: "/jobs/$id", params: { id: job.id } }); },
  });
  const amount = amounts(preview.data?.amount, language);
  const count = preview.data?.sagas ?? 0;
  const seen = acknowledgement(chosen, set.must);
  const fresh = set.fresh ? [] : preview.data?.needs_fresh ?? [];
  return (
    <Dialog open onClose={onClose} wide written={set.fresh !== undefined || set.why !== undefined} title={t("bulk.title")} description={<p>{t("bulk.about")}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); start.mutate(); }}>
        <div className="row wrap">
          <Field label={t("bulk.what")}>{(id) => (
            <Select id={id} value={kind === "replay" ? "replay" : action} onChange={(event) => setChosen(choose(chosen, event.target.value as ActionName | "replay"))}>
              {ACTIONS.map((it) => <option key={it} value={it}>{t(`action.${it}`)}</option>)}
              <option value="replay">{t("replay")}</option>
            </Select>
          )}</Field>
          <Field label={t("bulk.canary")}>{(id) => <Input id={id} type="number" min={0} max={1_000} value={canary} onChange={(event) => setCanary(Number(event.target.value))} />}</Field>
          <Field label={t("bulk.rate")}>{(id) => <Input id={id} type="number" min={1} max={1_000} value={rate} onChange={(event) => setRate(Number(event.target.value))} />}</Field>
          <Field label={t("bulk.stop")}>{(id) => <Input id={id} type="number" min={1} max={1_000} value={stopAfter} onChange={(event) => setStopAfter(Number(event.target.value))} />}</Field>
        </div>
        <Await of={preview} rows={3}>{(it) => (
          <div className="stack tight">
            <p><strong>{t("bulk.sagas", { count: it.sagas })}</strong>{amount !== null && ` · ${amount}`}</p>
            {it.by_step.length > 0 && <p className="muted">{it.by_step.map((by) => `${by.step === NO_STEP ? t("bulk.no_step") : by.step} ${by.sagas}`).join(" · ")}</p>}
            {it.excluded.map((out) => <p key={out.reason} className="muted">{t("bulk.excluded", { count: out.sagas, reason: said(out.reason) })}</p>)}
            {(it.uncompensated?.length ?? 0) > 0 && <p><strong>{t("act.uncompensated")}</strong> {it.uncompensated?.map((by) => `${by.step} ${by.sagas}`).join(" · ")}</p>}
            {it.approval > 0 && <p className="state tone-late" style={{ whiteSpace: "normal" }}>{t("bulk.approval", { count: it.approval })}</p>}
            {it.sample.length > 0 && <p className="muted ellipsis">{t("bulk.sample")} {it.sample.map((row) => row.key ?? row.saga.slice(-12)).join(", ")}</p>}
          </div>
        )}</Await>
        {fresh.length > 0 && <p className="state tone-late" style={{ whiteSpace: "normal" }}>{t("bulk.fresh", { pointers: fresh.join(", ") })}</p>}
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(id) => <Textarea id={id} required rows={2} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        {seen && <Check key={seen.words} label={t(seen.words)} checked={acknowledged} onChange={(event) => setChosen({ ...chosen, acknowledged: event.target.checked })} />}
        <ProblemLine error={start.error} />
        <DialogEnd>
          <Button onClick={onClose}>{t("cancel")}</Button>
          <Button type="submit" kind={action === "retry" || kind === "replay" ? "primary" : "danger"} busy={start.isPending} disabled={why.trim() === "" || count === 0 || (seen?.must === true && !acknowledged)}>
            {bulkDeed({ kind, action }, t, count, amount ?? t("bulk.no_amount"))}
          </Button>
        </DialogEnd>
      </form>
    </Dialog>
  );
}
