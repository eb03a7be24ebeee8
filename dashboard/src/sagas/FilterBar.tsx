// One line that filters: what is set stands before it and can be taken away, what is typed completes itself.

import { useQuery } from "@tanstack/react-query";
import { useId, useMemo, useState } from "react";

import { definitions, labels, type SagaFilter } from "../api/queries";
import { useT } from "../i18n";
import { Icon } from "../ui/Icon";
import { composing } from "../ui/keyboard";
import { accept, complete, type FilterField, labelBegun, typed } from "./filter";

const STATUS = ["running", "parked", "completed", "compensated", "abandoned"];
const HEALTH = ["on_time", "late", "queued", "waiting", "retrying", "parked"];

export function FilterBar({ filter, onChange }: { filter: SagaFilter; onChange: (filter: SagaFilter) => void }) {
  const t = useT();
  const [text, setText] = useState("");
  const [at, setAt] = useState(-1);
  const [open, setOpen] = useState(false);
  const listId = useId();
  const known = useQuery({ ...definitions, retry: false });
  const begun = labelBegun(text);
  const labelled = useQuery({ ...labels(begun ?? ""), enabled: open && begun !== null });
  const values = useMemo<Partial<Record<FilterField, string[]>>>(() => {
    const all = known.data?.definitions ?? [];
    return {
      status: STATUS, health: HEALTH, definition: all.map((it) => it.name), version: all.map((it) => it.version.slice(0, 8)),
      step: [...new Set(all.flatMap((it) => it.steps))], older_than_s: ["60", "600", "3600", "86400"], attempts_min: ["2", "3", "5", "10"], label: [...(labelled.data?.names.map((name) => `${name}:`) ?? []), ...(labelled.data?.labels ?? [])],
    };
  }, [known.data, labelled.data]);
  const offers = open ? complete(text, values) : [];
  const take = (next: string) => {
    onChange({ ...filter, ...typed(next) });
    setText("");
    setAt(-1);
  };
  return (
    <div className="filter">
      <Icon name="search" />
      {Object.entries(filter).map(([name, value]) => (
        <span key={name} className="chip">
          <span className="muted">{name}:</span>{value}
          <button type="button" aria-label={t("filter.remove", { name })} onClick={() => onChange({ ...filter, [name]: undefined })}><Icon name="close" size={10} /></button>
        </span>
      ))}
      <div className="filter-input">
        <input data-search role="combobox" aria-expanded={offers.length > 0} aria-controls={listId} aria-autocomplete="list" aria-label={t("filter.label")}
          aria-activedescendant={at >= 0 && offers[at] ? `${listId}-${at}` : undefined}
          placeholder={Object.keys(filter).length === 0 ? t("filter.hint") : ""} value={text} autoComplete="off" spellCheck={false}
          onFocus={() => setOpen(true)} onBlur={() => setOpen(false)}
          onChange={(event) => { setText(event.target.value); setAt(-1); setOpen(true); }}
          onKeyDown={(event) => {
            if (composing(event.nativeEvent)) return;
            const offer = offers[at];
            if (event.key === "ArrowDown" && offers.length > 0) { event.preventDefault(); setAt((at + 1) % offers.length); }
            else if (event.key === "ArrowUp" && offers.length > 0) { event.preventDefault(); setAt((at - 1 + offers.length) % offers.length); }
            else if (event.key === "Tab" && offers.length > 0 && text !== "") { event.preventDefault(); setText(accept(text, offer ?? offers[0] ?? "")); setAt(-1); }
            else if (event.key === "Enter") { event.preventDefault(); if (offer) { setText(accept(text, offer)); setAt(-1); } else if (text.trim() !== "") take(text); }
            else if (event.key === "Escape") { if (text) setText(""); else event.currentTarget.blur(); }
            else if (event.key === "Backspace" && text === "") {
              const last = Object.keys(filter).at(-1);
              if (last) onChange({ ...filter, [last]: undefined });
            }
          }} />
        <ul className="filter-offers" role="listbox" id={listId} aria-label={t("filter.label")} hidden={offers.length === 0}>
          {offers.map((offer, index) => (
            <li key={offer} id={`${listId}-${index}`} role="option" aria-selected={index === at} onMouseDown={(event) => { event.preventDefault(); setText(accept(text, offer)); }}>{offer}</li>
          ))}
        </ul>
      </div>
      {Object.keys(filter).length > 0 && <button type="button" className="link" onClick={() => onChange({})}>{t("filter.clear")}</button>}
    </div>
  );
}
