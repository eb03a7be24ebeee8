// What could not be understood or matched: why, whose, and to be sent again or discarded.

import "../definitions/definitions.css";

import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import { UNTOLD_MS, useInterval } from "../api/live";
import type { DeadLetter } from "../api/contract";
import { answerOf } from "../api/problem";
import { deadLetter, deadLetters, useRights, useStale } from "../api/queries";
import { type Key, useLanguage, useT } from "../i18n";
import { bytes } from "../i18n/format";
import { useBecause } from "../i18n/said";
import { SagaLink } from "../saga/SagaLink";
import { Ago } from "../ui/bits";
import { Applied, Button, Dialog, DialogEnd, Field, Input, Select } from "../ui/Controls";
import { Json } from "../ui/Json";
import { Await, Notice, Page, ProblemLine, Section } from "../ui/Page";
import { type Column, Table } from "../ui/Table";

const STATES = ["kept", "sent", "discarded"] as const;

export function DeadLettersPage() {
  const t = useT();
  const language = useLanguage();
  const because = useBecause();
  const navigate = useNavigate();
  const search = useSearch({ from: "/dead-letters" });
  const state = search["state"] ?? "kept";
  const every = useInterval(UNTOLD_MS, UNTOLD_MS);
  const asked = useInfiniteQuery({ ...deadLetters({ state: state === "all" ? undefined : state, saga: search["saga"], text: search["text"] }), refetchInterval: every });
  const { data, waiting } = answerOf(asked);
  const rows = useMemo(() => data?.pages.flatMap((page) => page.dead_letters), [data]);
  const set = (name: string, value: string | undefined) => void navigate({ to: "/dead-letters", search: { ...search, [name]: value }, replace: true });
  const columns = useMemo<Column<DeadLetter>[]>(() => [
    { id: "at", head: t("when"), width: "96px", cell: (row) => <Ago at={row.at} /> },
    { id: "reason", head: t("jobs.reason"), width: "minmax(150px, 3fr)", cell: (row) => <><span className="cell-two" title={row.reason}>{because(row.reason)}</span><span className="cell-two mono">{row.source}</span></> },
    { id: "saga", head: t("saga"), width: "130px", wide: true, cell: (row) => row.saga ? <SagaLink id={row.saga} /> : <span className="muted">–</span> },
    { id: "size", head: t("size"), width: "80px", right: true, wide: true, cell: (row) => bytes(language, row.bytes) },
    { id: "state", head: t("state"), width: "92px", cell: (row) => t(`letter.${row.state}` as Key) },
  ], [t, language, because]);
  const filtered = state !== "kept" || search["saga"] !== undefined || search["text"] !== undefined;
  const open = search["letter"] ? Number(search["letter"]) : null;
  return (
    <Page title={t("dead_letters")} lead={t("letters.lead")} actions={(
      <>
        <form onSubmit={(event) => { event.preventDefault(); set("text", String(new FormData(event.currentTarget).get("text") ?? "").trim() || undefined); }}>
          <Applied name="text" data-search aria-label={t("letters.search")} placeholder={t("letters.search")} value={search["text"] ?? ""} style={{ width: 180 }} />
        </form>
        <Select aria-label={t("state")} value={state} onChange={(event) => set("state", event.target.value)}>{STATES.map((it) => <option key={it} value={it}>{t(`letter.${it}`)}</option>)}<option value="all">{t("all")}</option></Select>
      </>
    )}>
      <Section flush label={t("dead_letters")} busy={waiting}>
        <Await of={{ ...asked, data: rows }}>{(list) => (
          <Table label={t("dead_letters")} rows={list} columns={columns} rowKey={(row) => String(row.id)} rowHeight={44} onOpen={(row) => set("letter", String(row.id))}
            onEnd={() => { if (asked.hasNextPage && !asked.isFetchingNextPage) void asked.fetchNextPage(); }}
            empty={filtered ? <Notice icon="search" title={t("letters.filtered")} action={<Button onClick={() => void navigate({ to: "/dead-letters", search: {}, replace: true })}>{t("filter.clear")}</Button>}>{t("letters.filtered.do")}</Notice> : <Notice icon="completed" tone="completed" title={t("letters.none")}>{t("letters.none.do")}</Notice>} />
        )}</Await>
      </Section>
      {open !== null && <Letter id={open} onClose={() => set("letter", undefined)} />}
    </Page>
  );
}

function Letter({ id, onClose }: { id: number; onClose: () => void }) {
  const t = useT();
  const because = useBecause();
  const rights = useRights();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const asked = useQuery(deadLetter(id));
  const settle = useMutation({
    mutationFn: (verb: "resend" | "discard") => send<DeadLetter>("POST", `/ops/dead-letters/${id}/${verb}`, { why: why.trim() }),
    onSuccess: () => { stale("dead-letters", "overview"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} wide title={t("letters.one", { id })}>
      <Await of={asked}>{(letter) => (
        <div className="stack">
          <p><strong>{because(letter.reason)}</strong></p>
          <dl className="facts">
            <dt>{t("when")}</dt><dd><Ago at={letter.at} /></dd>
            <dt>{t("letters.source")}</dt><dd className="mono">{letter.source}</dd>
            {letter.saga && <><dt>{t("saga")}</dt><dd><SagaLink id={letter.saga} /></dd></>}
            <dt>{t("state")}</dt><dd>{t(`letter.${letter.state}` as "letter.kept")}{letter.by && ` — ${letter.by}${letter.why ? `: “${letter.why}”` : ""}`}</dd>
          </dl>
          {letter.headers && <><h3>{t("letters.headers")}</h3><Json value={letter.headers} /></>}
          {letter.data !== undefined && <><h3>{t("saga.data")}</h3><pre className="break letter-data">{letter.data}</pre></>}
          {letter.data_base64 !== undefined && <><h3>{t("letters.base64")}</h3><pre className="break letter-data">{letter.data_base64}</pre></>}
          {rights.operate && letter.state === "kept" && (
            <form className="stack" onSubmit={(event) => event.preventDefault()}>
              <Field label={t("act.why")}>{(field) => <Input id={field} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
              <ProblemLine error={settle.error} />
              <DialogEnd>
                <Button kind="danger" disabled={why.trim() === ""} busy={settle.isPending} onClick={() => settle.mutate("discard")}>{t("letters.discard")}</Button>
                <Button kind="primary" disabled={why.trim() === "" || !letter.resendable} title={letter.resendable ? undefined : t("letters.unsendable")} busy={settle.isPending} onClick={() => settle.mutate("resend")}>{t("letters.resend")}</Button>
              </DialogEnd>
            </form>
          )}
        </div>
      )}</Await>
    </Dialog>
  );
}
