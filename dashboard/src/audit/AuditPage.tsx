// Who did what, to what, why, and from where. Nothing here can be changed.

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useRef, useState } from "react";

import { call, query } from "../api/client";
import { useInterval } from "../api/live";
import type { AuditEntry } from "../api/contract";
import { answerOf } from "../api/problem";
import { audit } from "../api/queries";
import { type T, term, useT } from "../i18n";
import { en } from "../i18n/en";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Ago, Exactly } from "../ui/bits";
import { Applied, Button, Dialog, IconButton, Input } from "../ui/Controls";
import { Json } from "../ui/Json";
import { Await, Notice, Page, problemWords, Section } from "../ui/Page";
import { type Column, Table } from "../ui/Table";

const FILTERS = ["who", "what", "target"] as const;
const TIMES = ["after_at", "before_at"] as const;
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

export function AuditPage() {
  const t = useT();
  const said = useSaid();
  const navigate = useNavigate();
  const search = useSearch({ from: "/audit" });
  const filter = Object.fromEntries([...FILTERS, ...TIMES].map((it) => [it, search[it]]));
  const form = useRef<HTMLFormElement>(null);
  const apply = (of: HTMLFormElement) => {
    const written = new FormData(of);
    const words = Object.fromEntries(FILTERS.map((it) => [it, String(written.get(it) ?? "").trim()]));
    // What is applied is shown as it is: without the blanks around it.
    for (const it of FILTERS) (of.elements.namedItem(it) as HTMLInputElement).value = words[it] ?? "";
    void navigate({ to: "/audit", search: { ...search, ...Object.fromEntries(FILTERS.map((it) => [it, words[it] || undefined])) }, replace: true });
  };
  // Also what is written and not applied yet.
  const clear = () => {
    for (const it of FILTERS) (form.current?.elements.namedItem(it) as HTMLInputElement).value = "";
    void navigate({ to: "/audit", search: {}, replace: true });
  };
  const set = (name: string, value: string) => void navigate({ to: "/audit", search: { ...search, [name]: value || undefined }, replace: true });
  const every = useInterval(10_000);
  const asked = useInfiniteQuery({ ...audit(filter), refetchInterval: every });
  const { data, waiting } = answerOf(asked);
  const rows = useMemo(() => data?.pages.flatMap((page) => page.entries), [data]);
  const [open, setOpen] = useState<AuditEntry | null>(null);
  const [saving, setSaving] = useState(false);
  const columns = useMemo<Column<AuditEntry>[]>(() => [
    { id: "at", head: t("when"), width: "96px", cell: (row) => <Ago at={row.at} /> },
    { id: "who", head: t("audit.who"), width: "minmax(80px, 1fr)", cell: (row) => <><span className="cell-two">{row.who}</span><span className="cell-two">{row.address}</span></> },
    { id: "what", head: t("audit.what"), width: "minmax(110px, 1fr)", cell: (row) => <><span className="cell-two">{deed(t, row.what)}</span><code className="cell-two" title={row.what}>{row.what}</code></> },
    { id: "target", head: t("audit.target"), width: "minmax(110px, 1fr)", wide: true, cell: (row) => !row.target ? <span className="muted">–</span> : UUID.test(row.target) && row.what.startsWith("saga.") ? <Link className="mono" to="/sagas/$id" params={{ id: row.target }}>{row.target.slice(-12)}</Link> : UUID.test(row.target) && row.what.startsWith("job.") ? <Link className="mono" to="/jobs/$id" params={{ id: row.target }}>{row.target.slice(-12)}</Link> : <span className="mono" title={row.target}>{row.target}</span> },
    { id: "why", head: t("act.why"), width: "minmax(120px, 2fr)", wide: true, cell: (row) => <span title={row.why ?? undefined}>{row.why}</span> },
  ], [t]);
  const save = async () => {
    setSaving(true);
    try {
      const response = await call(`/ops/audit/export${query(filter)}`, { headers: { accept: "application/x-ndjson" } });
      const url = URL.createObjectURL(await response.blob());
      const link = document.createElement("a");
      link.href = url;
      link.download = `amends-audit-${new Date().toISOString().slice(0, 10)}.ndjson`;
      link.click();
      URL.revokeObjectURL(url);
    } catch (error) {
      toast(problemWords(error, t, said, "question"), "parked", "rejected");
    } finally {
      setSaving(false);
    }
  };
  return (
    <Page title={t("audit")} lead={t("audit.lead")} actions={(
      <>
        <form ref={form} className="row wrap" onSubmit={(event) => { event.preventDefault(); apply(event.currentTarget); }}>
          {FILTERS.map((it) => <Applied key={it} name={it} aria-label={t(`audit.${it}`)} placeholder={t(`audit.${it}`)} value={search[it] ?? ""} style={{ width: 116 }} {...(it === "who" ? { "data-search": true } : {})} />)}
          <IconButton type="submit" icon="search" label={t("filter.label")} />
        </form>
        {TIMES.map((it) => (
          <label key={it} className="row"><span className="muted">{t(`audit.${it}`)}</span><Input type="datetime-local" defaultValue={local(search[it])} style={{ width: 180 }}
            ref={(field) => { if (field && search[it] === undefined && document.activeElement !== field) field.value = ""; }}
            onChange={(event) => set(it, event.currentTarget.value && new Date(event.currentTarget.value).toISOString())} /></label>
        ))}
        <Button icon="down" busy={saving} disabled={!rows} onClick={() => void save()}>{t("audit.export")}</Button>
      </>
    )}>
      <Section flush label={t("audit")} busy={waiting}>
        <Await of={{ ...asked, data: rows }}>{(list) => (
          <Table label={t("audit")} rows={list} columns={columns} rowKey={(row) => String(row.id)} rowHeight={44} onOpen={setOpen}
            onEnd={() => { if (asked.hasNextPage && !asked.isFetchingNextPage) void asked.fetchNextPage(); }} empty={Object.values(filter).some((it) => it !== undefined)
              ? <Notice icon="search" title={t("audit.filtered")} action={<Button onClick={clear}>{t("filter.clear")}</Button>}>{t("audit.filtered.do")}</Notice>
              : <Notice icon="audit" title={t("audit.none")} />} />
        )}</Await>
      </Section>
      <Dialog open={open !== null} onClose={() => setOpen(null)} wide title={open ? deed(t, open.what) : ""}>
        {open && (
          <div className="stack">
            <dl className="facts">
              <dt>{t("when")}</dt><dd><Exactly at={open.at} /></dd><dt>{t("audit.what")}</dt><dd className="mono">{open.what}</dd><dt>{t("audit.who")}</dt><dd>{open.who} {open.roles?.map((role) => term(t, "role", role)).join(", ")} {open.address}</dd>
              <dt>{t("audit.target")}</dt><dd className="mono">{open.target ?? "–"}</dd><dt>{t("act.why")}</dt><dd>{open.why ?? "–"}</dd>
            </dl>
            {open.before != null && <><h3>{t("act.before")}</h3><Json value={open.before} /></>}
            {open.after != null && <><h3>{t("act.after")}</h3><Json value={open.after} /></>}
          </div>
        )}
      </Dialog>
    </Page>
  );
}

/** What was done, in words: an operator's action on a saga by its own name. */
function deed(t: T, what: string): string {
  const [, signal] = /^saga\.signal\.(.+)$/.exec(what) ?? [];
  if (signal !== undefined) return t("event.signal", { signal });
  const [, action] = /^saga\.(.+)$/.exec(what) ?? [];
  return action !== undefined && `action.${action}` in en ? term(t, "action", action) : term(t, "deed", what);
}

/** An instant as its field wants it: the reader's own time, without a zone. */
function local(instant: string | undefined): string {
  if (!instant) return "";
  const at = new Date(instant);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
