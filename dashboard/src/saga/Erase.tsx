// The right to be forgotten: what the definition marks as personal is replaced in an ended saga's history, for good.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import { useStale } from "../api/queries";
import { useT } from "../i18n";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { ProblemLine } from "../ui/Page";

export function EraseDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const erase = useMutation({
    mutationFn: () => send("POST", `/sagas/${id}/erase`, { why: why.trim() }),
    onSuccess: () => { stale("saga"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={t("erase")} description={<p>{t("erase.about")}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); erase.mutate(); }}>
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(field) => <Input id={field} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={erase.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="danger" disabled={why.trim() === ""} busy={erase.isPending}>{t("erase.go")}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
