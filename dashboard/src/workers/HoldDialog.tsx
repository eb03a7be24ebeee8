// The brake: starts, a definition or a worker's action are held back while compensations flow.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import type { Hold } from "../api/contract";
import { useStale } from "../api/queries";
import { useT } from "../i18n";
import { Button, Dialog, DialogEnd, Field, Input, Select, Textarea } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";

export type HoldTarget = { kind: "starts" } | { kind: "definition"; definition: string } | { kind: "action"; worker: string; actions: string[] };

export function HoldDialog({ target, onClose }: { target: HoldTarget; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const [action, setAction] = useState("");
  const [minutes, setMinutes] = useState("");
  const hold = useMutation({
    mutationFn: () => send<Hold>("POST", "/ops/holds", {
      kind: target.kind, why: why.trim(),
      ...(target.kind === "definition" ? { definition: target.definition } : {}),
      ...(target.kind === "action" ? { worker: target.worker, ...(action ? { action } : {}) } : {}),
      ...(minutes ? { until: new Date(Date.now() + Number(minutes) * 60_000).toISOString() } : {}),
    }),
    onSuccess: () => { stale("holds", "workers", "overview"); onClose(); },
  });
  const what = target.kind === "starts" ? t("holds.starts") : target.kind === "definition" ? target.definition : `${target.worker}.${action || "*"}`;
  return (
    <Dialog open onClose={onClose} title={t("holds.title", { what })} description={<p>{t(`holds.about.${target.kind}`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); hold.mutate(); }}>
        {target.kind === "action" && <Field label={t("actions")}>{(id) => <Select id={id} value={action} onChange={(event) => setAction(event.target.value)}><option value="">{t("holds.every")}</option>{target.actions.map((it) => <option key={it}>{it}</option>)}</Select>}</Field>}
        <Field label={t("holds.for")} hint={t("holds.for.hint")}>{(id) => <Input id={id} type="number" min={1} max={100_000} value={minutes} onChange={(event) => setMinutes(event.target.value)} />}</Field>
        <Field label={t("act.why")}>{(id) => <Textarea id={id} rows={2} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={hold.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="danger" disabled={why.trim() === ""} busy={hold.isPending}>{t("holds.go", { what })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
