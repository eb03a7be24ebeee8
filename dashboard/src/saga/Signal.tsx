// Sends a signal to a saga, such as a webhook that never came or a human's consent.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { call } from "../api/client";
import type { SagaView } from "../api/contract";
import type { Signalled } from "../api/schema";
import { useStale } from "../api/queries";
import { unique } from "../api/unique";
import { useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Button, Dialog, DialogEnd, Field, Input, Textarea } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";

const PREFIX = "wait for signal ";

export function SignalDialog({ saga, onClose }: { saga: SagaView; onClose: () => void }) {
  const t = useT();
  const said = useSaid();
  const stale = useStale();
  const awaited = saga.steps.find((step) => step.state === "waiting" && step.action.startsWith(PREFIX));
  const [name, setName] = useState(awaited?.action.slice(PREFIX.length) ?? "");
  const [payload, setPayload] = useState("");
  const [why, setWhy] = useState("");
  const [key] = useState(unique);
  const post = useMutation({
    mutationFn: async () => (await (await call(`/sagas/${saga.saga}/signals/${encodeURIComponent(name.trim())}?${new URLSearchParams({ why })}`, {
      method: "POST", headers: { "idempotency-key": key }, ...(payload.trim() === "" ? {} : { text: payload, type: "application/json" }),
    })).json()) as Signalled,
    onSuccess: ({ result, reason }) => {
      if (result === "ignored") toast(`${t("signal.ignored", { name })} ${said(reason ?? "")}`, "parked", "rejected");
      else toast(t(result === "applied" ? "signal.applied" : "signal.kept", { name }), result === "applied" ? "completed" : "retrying", result === "applied" ? "completed" : "waiting");
      stale("saga", "parked");
      onClose();
    },
  });
  return (
    <Dialog open onClose={onClose} title={t("signal.send")} description={<p>{t("signal.about")}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); post.mutate(); }}>
        <Field label={t("signal.name")}>{(id) => <Input id={id} required pattern="[A-Za-z][A-Za-z0-9_.\-]*" value={name} onChange={(event) => setName(event.target.value)} />}</Field>
        <Field label={t("signal.payload")} hint={t("signal.payload.hint")}>{(id) => <Textarea id={id} className="mono" spellCheck={false} value={payload} onChange={(event) => setPayload(event.target.value)} />}</Field>
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(id) => <Input id={id} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={post.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={name.trim() === "" || why.trim() === ""} busy={post.isPending}>{t("signal.go", { name })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
