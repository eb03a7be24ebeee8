// Goes anywhere by typing: pages, definitions, a saga by its id or by the start of its key; and does what the page offers.

import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Dialog as RadixDialog } from "radix-ui";
import { useDeferredValue, useEffect, useId, useRef, useState } from "react";

import { get, query } from "../api/client";
import type { SagaPage } from "../api/contract";
import { asProblem } from "../api/problem";
import { definitions } from "../api/queries";
import { useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { short } from "../ui/bits";
import { Icon, type IconName } from "../ui/Icon";
import { composing } from "../ui/keyboard";
import { problemWords } from "../ui/Page";
import { offered } from "./commands";
import { PAGES } from "./navigation";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
interface Item { id: string; label: string; note?: string; icon: IconName; go: () => void }

export function Palette({ onClose }: { onClose: () => void }) {
  const t = useT();
  const said = useSaid();
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const typed = text.trim();
  const asked = useDeferredValue(typed);
  const listId = useId();
  const found = useQuery({
    queryKey: ["palette", asked],
    queryFn: async ({ signal }) => {
      try {
        return await get<SagaPage>(`/sagas${query({ text: asked, limit: 8 })}`, signal);
      } catch (error) {
        // A server that searches no text knows the exact key.
        if (asProblem(error).kind !== "invalid") throw error;
        return get<SagaPage>(`/sagas${query({ key: asked, limit: 8 })}`, signal);
      }
    },
    enabled: asked.length >= 3,
    retry: false,
    staleTime: 5_000,
  });
  const known = useQuery({ ...definitions, retry: false });

  const has = (label: string) => label.toLowerCase().includes(typed.toLowerCase());
  const items: Item[] = [];
  // Of what is typed now, not of what was asked for a moment ago: Enter may come with the last letter.
  if (UUID.test(typed)) items.push({ id: typed, label: t("palette.saga", { id: short(typed) }), icon: "running", go: () => void navigate({ to: "/sagas/$id", params: { id: typed } }) });
  for (const saga of found.data?.sagas ?? []) {
    if (saga.saga === typed) continue;
    items.push({
      id: saga.saga, label: saga.key ?? short(saga.saga), note: `${saga.definition} · ${t(`state.${saga.status}` as "state.parked")}`, icon: saga.status === "parked" ? "parked" : "running",
      go: () => void navigate({ to: "/sagas/$id", params: { id: saga.saga } }),
    });
  }
  // A page or a definition of that name does not say that there is no such saga.
  const failed = found.isError && !found.isFetching;
  const deeds = offered().filter((it) => has(it.label)).map((it) => ({ ...it, note: t("palette.deed") }));
  // Before anything is typed, what can be done here comes first.
  if (typed === "") items.push(...deeds);
  for (const page of PAGES) if (has(t(page.label))) items.push({ id: page.to, label: t(page.label), icon: page.icon, go: () => void navigate({ to: page.to }) });
  for (const definition of known.data?.definitions ?? []) {
    if (typed !== "" && has(definition.name)) {
      items.push({ id: `d/${definition.name}`, label: definition.name, note: t("definitions"), icon: "definitions", go: () => void navigate({ to: "/definitions/$name", params: { name: definition.name } }) });
    }
  }
  if (typed !== "") items.push(...deeds);
  const chosen = Math.min(at, items.length - 1);
  const run = (item: Item | undefined) => {
    if (!item) return;
    onClose();
    item.go();
  };
  // Enter before the answer is there: it goes where the answer leads.
  const entered = useRef<string | null>(null);
  const searching = found.isFetching || asked !== typed;
  useEffect(() => {
    if (entered.current === null || searching) return;
    if (entered.current === typed) run(items[0]);
    entered.current = null;
  });
  return (
    <RadixDialog.Root open onOpenChange={(open) => !open && onClose()}>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="overlay" />
        <RadixDialog.Content className="dialog palette" aria-describedby={undefined}>
          <RadixDialog.Title className="hidden-visually">{t("palette.open")}</RadixDialog.Title>
          <input className="input" role="combobox" aria-expanded="true" aria-controls={listId} aria-activedescendant={items[chosen] ? `${listId}-${chosen}` : undefined}
            aria-label={t("palette.hint")} placeholder={t("palette.hint")} value={text} autoComplete="off" spellCheck={false}
            onChange={(event) => { setText(event.target.value); setAt(0); }}
            onKeyDown={(event) => {
              if (composing(event.nativeEvent)) return;
              if (event.key === "ArrowDown") { event.preventDefault(); setAt(Math.min(items.length - 1, chosen + 1)); }
              if (event.key === "ArrowUp") { event.preventDefault(); setAt(Math.max(0, chosen - 1)); }
              if (event.key === "Enter") { event.preventDefault(); if (items[chosen]) run(items[chosen]); else entered.current = typed; }
            }} />
          {failed && <p className="palette-item" role="alert">{t("palette.unread")} {problemWords(found.error, t, said, "question")}</p>}
          <div className="palette-list" role="listbox" id={listId} aria-label={t("palette.open")}>
            {items.length === 0 && !failed && <p className="muted palette-item">{found.isFetching ? t("loading") : t("palette.nothing")}</p>}
            {items.map((item, index) => (
              // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the input above has the keys
              <div key={item.id} id={`${listId}-${index}`} role="option" tabIndex={-1} aria-selected={index === chosen} className="palette-item" onClick={() => run(item)} onMouseMove={() => setAt(index)}>
                <Icon name={item.icon} /><span className="ellipsis">{item.label}</span>{item.note && <span className="muted nowrap">{item.note}</span>}
              </div>
            ))}
          </div>
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  );
}
