// A difference that stays is settled by a human who says why the books may differ by it.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import type { Reconciliation } from "../api/contract";
import { useStale } from "../api/queries";
import { term, useT } from "../i18n";
import { Button, Dialog, DialogEnd, Field, Textarea } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";

export type Finding = Reconciliation["findings"][number];

export function SettleDialog({ finding, onClose }: { finding: Finding; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const settle = useMutation({
    mutationFn: () => send("POST", "/ops/reconciliation/settle", { kind: finding.kind, order_id: finding.order_id, why: why.trim() }),
    onSuccess: () => { stale("reconciliation"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={t("reconciliation.settle")} description={<p>{term(t, "finding", finding.kind)} <span className="mono break">{finding.order_id}</span></p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); settle.mutate(); }}>
        <Field label={t("resolve.why")} hint={t("reconciliation.settle.hint")}>{(id) => <Textarea id={id} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={settle.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={why.trim() === ""} busy={settle.isPending}>{t("resolve.go")}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
