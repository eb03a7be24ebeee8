// What people wrote about a saga, and who has it.

import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import type { Note, SagaView } from "../api/contract";
import { useRights, useStale } from "../api/queries";
import { useT } from "../i18n";
import { Ago } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Input, Textarea } from "../ui/Controls";
import { ProblemLine, Section } from "../ui/Page";

export function NotesPanel({ saga }: { saga: SagaView }) {
  const t = useT();
  const rights = useRights();
  const stale = useStale();
  const [text, setText] = useState("");
  const add = useMutation({
    mutationFn: () => send<Note>("POST", `/sagas/${saga.saga}/notes`, { text: text.trim() }),
    onSuccess: () => { setText(""); stale("saga", "parked"); },
  });
  // Where there are none, none are sent.
  const notes = saga.notes ?? [];
  return (
    <Section title={t("notes")}>
      {notes.length === 0 && <p className="muted">{t("notes.none")}</p>}
      <ul>{notes.map((note) => <li key={note.id} className="note-line"><div className="break">{note.text}</div><div className="muted">{note.who} · <Ago at={note.at} /></div></li>)}</ul>
      {rights.operate && (
        <form className="stack tight" onSubmit={(event) => { event.preventDefault(); if (text.trim()) add.mutate(); }}>
          <Textarea rows={2} aria-label={t("notes.add")} placeholder={t("notes.add")} maxLength={1_000} value={text} onChange={(event) => setText(event.target.value)} />
          <ProblemLine error={add.error} />
          <div><Button type="submit" disabled={text.trim() === ""} busy={add.isPending}>{t("notes.add")}</Button></div>
        </form>
      )}
    </Section>
  );
}

export function OwnerLine({ saga }: { saga: SagaView }) {
  const t = useT();
  const rights = useRights();
  const stale = useStale();
  const [open, setOpen] = useState(false);
  const [owner, setOwner] = useState("");
  const [was, setWas] = useState("");
  const [why, setWhy] = useState("");
  const put = useMutation({
    mutationFn: () => send("PUT", `/sagas/${saga.saga}/owner`, { owner: owner.trim() || null, was, why: why.trim() }),
    onSuccess: () => { setOpen(false); stale("saga", "parked", "sagas"); },
  });
  return (
    <>
      <dt>{t("owner")}</dt>
      <dd className="row">{saga.owner ?? <span className="muted">{t("owner.none")}</span>}{rights.operate && <button type="button" className="link" onClick={() => { setWas(saga.owner ?? ""); setWhy(""); put.reset(); setOwner(saga.owner ?? rights.me?.principal ?? ""); setOpen(true); }}>{t("change")}</button>}</dd>
      <Dialog open={open} onClose={() => setOpen(false)} title={t("owner.change")}>
        <form className="stack" onSubmit={(event) => { event.preventDefault(); put.mutate(); }}>
          <Field label={t("owner")} hint={t("owner.hint")}>{(id) => <Input id={id} value={owner} onChange={(event) => setOwner(event.target.value)} />}</Field>
          <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
          <ProblemLine error={put.error} />
          <DialogEnd><Button onClick={() => setOpen(false)}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={why.trim() === ""} busy={put.isPending}>{t("owner.change")}</Button></DialogEnd>
        </form>
      </Dialog>
    </>
  );
}
