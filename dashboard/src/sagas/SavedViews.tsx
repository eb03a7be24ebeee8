// Filters kept under a name, for oneself or for all.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import { type SagaFilter, savedFilters, useRights, useStale } from "../api/queries";
import { useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Button, Check, Dialog, DialogEnd, Field, Input, Menu, type MenuItem } from "../ui/Controls";
import { ProblemLine, problemWords, Unread } from "../ui/Page";
import { namedOf, viewOf } from "./views";

export function SavedViews({ filter, onOpen }: { filter: SagaFilter; onOpen: (filter: SagaFilter) => void }) {
  const t = useT();
  const said = useSaid();
  const rights = useRights();
  const principal = rights.me?.principal;
  const stale = useStale();
  const asked = useQuery(savedFilters);
  const [open, setOpen] = useState(false);
  const [name, setName] = useState("");
  const [ticked, setTicked] = useState<boolean | null>(null);
  const query = new URLSearchParams(Object.entries(filter).filter((it): it is [string, string] => it[1] !== undefined)).toString();
  // Whose view is replaced is shared as it was, unless one says otherwise.
  const replaced = asked.data && namedOf(asked.data.filters, name, principal);
  const shared = ticked ?? replaced?.shared ?? false;
  const save = useMutation({
    mutationFn: () => send("PUT", `/ops/filters/${encodeURIComponent(name.trim())}`, { query, shared }),
    onSuccess: () => { setOpen(false); stale("filters"); },
  });
  const remove = useMutation({
    mutationFn: (gone: string) => send("DELETE", `/ops/filters/${encodeURIComponent(gone)}`),
    onError: (error) => toast(problemWords(error, t, said), "parked", "rejected"),
    onSettled: () => stale("filters"),
  });
  if (!asked.data) return <Unread of={asked} what={t("views")} />;
  const items: (MenuItem | "line")[] = asked.data.filters.map((it) => ({ label: it.name, note: it.by === principal ? it.query : `${it.query} · ${it.by}`, onSelect: () => onOpen(Object.fromEntries(new URLSearchParams(it.query))) }));
  const { view: current, own } = viewOf(asked.data.filters, query, principal);
  if (rights.operate && query !== "" && !current) items.push("line", { label: t("views.save"), icon: "plus", onSelect: () => { save.reset(); setName(""); setTicked(null); setOpen(true); } });
  if (rights.operate && current && own) items.push("line", { label: t("views.remove", { name: current.name }), icon: "close", danger: true, onSelect: () => remove.mutate(current.name) });
  if (items.length === 0) items.push({ label: t("views.none"), disabled: true, onSelect: () => undefined });
  return (
    <>
      <Menu trigger={<Button icon="down">{current?.name ?? t("views")}</Button>} items={items} />
      <Dialog open={open} onClose={() => setOpen(false)} title={t("views.save")}>
        <form className="stack" onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
          <Field label={t("name")} hint={<code>{query}</code>}>{(id) => <Input id={id} required maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
          <Check label={t("views.shared")} checked={shared} onChange={(event) => setTicked(event.target.checked)} />
          {replaced && <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><span>{t("views.named")} <code>{replaced.query}</code></span></p>}
          <ProblemLine error={save.error} />
          <DialogEnd><Button onClick={() => setOpen(false)}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={name.trim() === ""} busy={save.isPending}>{t(replaced ? "views.replace" : "views.save")}</Button></DialogEnd>
        </form>
      </Dialog>
    </>
  );
}
