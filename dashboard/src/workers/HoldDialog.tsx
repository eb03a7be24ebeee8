// The brake: starts, a definition or a worker's action are held back while compensations flow.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import type { Hold } from "../api/contract";
import { holds, useStale } from "../api/queries";
import { useT } from "../i18n";
import { Ago, Until } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input, Select, Textarea } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { ProblemLine, Unread } from "../ui/Page";
import { heldBy, type HoldTarget } from "./held";

export function HoldDialog({ target, onClose }: { target: HoldTarget; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const [action, setAction] = useState("");
  const [minutes, setMinutes] = useState("");
  const known = useQuery(holds);
  const already = heldBy(known.data?.holds, target, action);
  const hold = useMutation({
    mutationFn: () => send<Hold>("POST", "/ops/holds", {
      kind: target.kind, why: why.trim(),
      ...(target.kind === "definition" ? { definition: target.definition } : {}),
      ...(target.kind === "action" ? { worker: target.worker, ...(action ? { action } : {}) } : {}),
      ...(minutes ? { until: new Date(Date.now() + Number(minutes) * 60_000).toISOString() } : {}),
    }),
    onSuccess: () => { stale("holds", "workers", "overview"); onClose(); },
    // Its answer may have been lost, and the hold be there: before it can be set once more, it is looked.
    onError: async () => { stale("workers", "overview"); await known.refetch(); },
  });
  const what = target.kind === "starts" ? t("holds.starts") : target.kind === "definition" ? target.definition : `${target.worker}.${action || "*"}`;
  return (
    <Dialog open onClose={onClose} title={t("holds.title", { what })} description={<p>{t(`holds.about.${target.kind}`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); hold.mutate(); }}>
        {target.kind === "action" && <Field label={t("actions")}>{(id) => <Select id={id} value={action} onChange={(event) => setAction(event.target.value)}><option value="">{t("holds.every")}</option>{target.actions.map((it) => <option key={it}>{it}</option>)}</Select>}</Field>}
        <Field label={t("holds.for")} hint={t("holds.for.hint")}>{(id) => <Input id={id} type="number" min={1} max={100_000} value={minutes} onChange={(event) => setMinutes(event.target.value)} />}</Field>
        <Field label={t("act.why")}>{(id) => <Textarea id={id} rows={2} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <Unread of={known} what={t("holds")} />
        {already.map((it) => (
          <p key={it.id} className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><Icon name="hold" size={12} /><span>{t("holds.already")} “{it.why}” — {it.by}, <Ago at={it.at} />{it.until && <> · {t("holds.until")} <Until at={it.until} /></>}. {t("holds.already.about")}</span></p>
        ))}
        <ProblemLine error={hold.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="danger" disabled={why.trim() === ""} busy={hold.isPending}>{t(already.length > 0 ? "holds.go.again" : "holds.go", { what })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
