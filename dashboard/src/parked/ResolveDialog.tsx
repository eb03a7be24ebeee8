// An anomaly is closed by a human who says what was done about it.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import type { ParkedItem } from "../api/contract";
import { useStale } from "../api/queries";
import { term, useT } from "../i18n";
import { Button, Dialog, DialogEnd, Field, Textarea } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";

export function ResolveDialog({ item, onClose }: { item: ParkedItem; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const resolve = useMutation({
    mutationFn: () => send("POST", "/ops/anomalies/resolve", { saga: item.saga, effect_key: item.anomaly?.effect_key, kind: item.anomaly?.kind, why: why.trim() }),
    onSuccess: () => { stale("parked", "saga", "overview"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={t("suggest.resolve")} description={<p>{term(t, "anomaly", item.anomaly?.kind ?? "")} <span className="mono break">{item.anomaly?.effect_key}</span></p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); resolve.mutate(); }}>
        <Field label={t("resolve.why")} hint={t("resolve.hint")}>{(id) => <Textarea id={id} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={resolve.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={why.trim() === ""} busy={resolve.isPending}>{t("resolve.go")}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
