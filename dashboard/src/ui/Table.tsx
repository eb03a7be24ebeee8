// A list of many rows: only what is on screen is in the page, and the keyboard walks it (j, k, x, Enter).

import "./table.css";

import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useEffectEvent, useMemo, useRef, useState } from "react";

import { useT } from "../i18n";
import { Icon } from "./Icon";
import { shortcut } from "./keyboard";
import { type At, isThere, placeOf } from "./rows";

export interface Column<R> {
  id: string;
  head: ReactNode;
  cell: (row: R) => ReactNode;
  /** A CSS grid track, such as `minmax(80px, 1fr)`. */
  width: string;
  right?: boolean;
  /** Left out on narrow screens. */
  wide?: boolean;
  /** What the rows can be sorted by. */
  by?: (row: R) => number | string;
}

/** A column's id, with `-` before it where the largest comes first. */
export type Sort = string | undefined;

/** The rows in another order; as they came when no column is named. */
export function sorted<R>(rows: R[], columns: Column<R>[], sort: Sort): R[] {
  const by = columns.find((column) => column.id === sort?.replace(/^-/, ""))?.by;
  if (!by) return rows;
  const sign = sort?.startsWith("-") ? -1 : 1;
  return rows.map((row) => [by(row), row] as const).sort(([a], [b]) => sign * (a < b ? -1 : a > b ? 1 : 0)).map(([, row]) => row);
}

interface TableProps<R> {
  label: string;
  rows: R[];
  columns: Column<R>[];
  rowKey: (row: R) => string;
  onOpen?: (row: R) => void;
  selected?: Set<string>;
  onSelect?: (keys: Set<string>) => void;
  rowHeight?: number;
  onEnd?: () => void;
  empty?: ReactNode;
  /** The whole height of its place, scrolling within; else as high as its rows, up to a bound. */
  fill?: boolean;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
}

export function Table<R>({ label, rows, columns, rowKey, onOpen, selected, onSelect, rowHeight = 36, onEnd, empty, fill = false, sort, onSort }: TableProps<R>) {
  const t = useT();
  const scroller = useRef<HTMLDivElement>(null);
  const [held, hold] = useState<At>({ key: null, index: 0 });
  const narrow = useNarrow();
  const shown = narrow ? columns.filter((column) => !column.wide) : columns;
  const tracks = `${onSelect ? "32px " : ""}${shown.map((column) => column.width).join(" ")}`;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    getItemKey: (index) => { const row = rows[index]; return row === undefined ? index : rowKey(row); },
  });
  const keys = useMemo(() => rows.map(rowKey), [rows, rowKey]);
  const at = placeOf(keys, held);
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (onEnd && rows.length > 0 && last >= rows.length - 20) onEnd();
  }, [last, rows.length, onEnd]);

  const toggle = (row: R) => {
    if (!onSelect || !selected) return;
    const next = new Set(selected);
    const key = rowKey(row);
    if (!next.delete(key)) next.add(key);
    onSelect(next);
  };
  // Where the keyboard is to be: the row may not be in the page before it is scrolled to.
  const wanted = useRef<string | null>(null);
  const focusWanted = () => {
    const row = wanted.current === null ? null : scroller.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(wanted.current)}"]`);
    if (!row) return;
    wanted.current = null;
    row.focus({ preventScroll: true });
  };
  useEffect(focusWanted);
  const move = (to: number) => {
    const bounded = Math.max(0, Math.min(rows.length - 1, to));
    const key = keys[bounded];
    if (key === undefined) return;
    hold({ key, index: bounded });
    virtual.scrollToIndex(bounded);
    wanted.current = key;
    focusWanted();
  };
  const onKey = useEffectEvent((event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || rows.length === 0) return;
    const target = event.target as HTMLElement;
    const inside = scroller.current?.contains(target) ?? false;
    // The page's first list has the keys that nobody else on the page has asked for.
    if (!inside && !(isNobodys(target) && document.querySelector("[data-list]") === scroller.current)) return;
    // A control inside of a row has keys of its own.
    if (target.closest("a, button, input, select, textarea") && (event.key === "Enter" || event.key === " ")) return;
    const row = isThere(keys, held) ? rows[at] : undefined;
    const next = inside ? at + 1 : at;
    switch (shortcut(event)) {
      case "j": case "ArrowDown": event.preventDefault(); move(next); break;
      case "k": case "ArrowUp": event.preventDefault(); move(at - 1); break;
      case "Home": event.preventDefault(); move(0); break;
      case "End": event.preventDefault(); move(rows.length - 1); break;
      case "x": if (row !== undefined) toggle(row); break;
      case "Enter": if (row !== undefined && inside) onOpen?.(row); break;
    }
  });
  useEffect(() => {
    const listen = (event: KeyboardEvent) => onKey(event);
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, []);
  const all = selected !== undefined && rows.length > 0 && rows.every((row) => selected.has(rowKey(row)));
  return (
    <div className={`table${fill ? " fill" : ""}`} role="table" aria-label={label} aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div className="table-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: tracks }}>
          {onSelect && (
            <div role="columnheader" className="table-cell">
              <input type="checkbox" aria-label={t("select_all")} checked={all} onChange={() => onSelect(all ? new Set() : new Set(rows.map(rowKey)))} />
            </div>
          )}
          {shown.map((column) => <Head key={column.id} column={column} sort={sort} {...(onSort ? { onSort } : {})} />)}
        </div>
      </div>
      {rows.length === 0 ? <div role="rowgroup"><div role="row"><div role="cell">{empty}</div></div></div> : (
        <div ref={scroller} data-list className="table-scroll" role="presentation" style={fill ? undefined : { height: Math.min(rows.length * rowHeight, 560) }}>
          <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
            {items.map((item) => {
              const row = rows[item.index];
              if (row === undefined) return null;
              const key = rowKey(row);
              return (
                // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the keys of all rows are taken at once, above
                <div key={key} role="row" aria-rowindex={item.index + 2} data-key={key} tabIndex={item.index === at ? 0 : -1}
                  className={`table-row${selected?.has(key) ? " selected" : ""}${onOpen ? " opens" : ""}`}
                  style={{ gridTemplateColumns: tracks, height: rowHeight, transform: `translateY(${item.start}px)` }}
                  onFocus={() => hold({ key, index: item.index })}
                  onClick={(event) => {
                    if (!(event.target as HTMLElement).closest("a, button, input")) onOpen?.(row);
                  }}>
                  {onSelect && (
                    <div role="cell" className="table-cell">
                      <input type="checkbox" tabIndex={-1} aria-label={t("select_row")} checked={selected?.has(key) ?? false} onChange={() => toggle(row)} />
                    </div>
                  )}
                  {shown.map((column) => <div key={column.id} role="cell" className={`table-cell${column.right ? " right" : ""}`}>{column.cell(row)}</div>)}
                </div>
              );
            })}
          </div>
        </div>
      )}
    </div>
  );
}

/** A click sorts by it, the next one the other way, the third no more. */
function Head<R>({ column, sort, onSort }: { column: Column<R>; sort: Sort; onSort?: (sort: Sort) => void }) {
  const t = useT();
  const mine = sort?.replace(/^-/, "") === column.id;
  const down = mine && (sort?.startsWith("-") ?? false);
  const place = `table-cell${column.right ? " right" : ""}`;
  if (!column.by || !onSort) return <div role="columnheader" className={place}>{column.head}</div>;
  return (
    <div role="columnheader" className={place} aria-sort={!mine ? "none" : down ? "descending" : "ascending"}>
      <button type="button" className="sort" aria-pressed={mine} title={typeof column.head === "string" ? t("sort.by", { column: column.head }) : undefined}
        onClick={() => onSort(!mine ? `-${column.id}` : down ? column.id : undefined)}>
        {column.head}{mine && <Icon name={down ? "down" : "up"} size={10} />}
      </button>
    </div>
  );
}

/** No control, dialog or menu has the keyboard. */
function isNobodys(target: HTMLElement): boolean {
  return (target === document.body || target.id === "main") && document.querySelector("[role=dialog], [role=alertdialog], [role=menu]") === null;
}

export function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia("(max-width: 640px)").matches);
  useEffect(() => {
    const media = matchMedia("(max-width: 640px)");
    const listen = () => setNarrow(media.matches);
    media.addEventListener("change", listen);
    return () => media.removeEventListener("change", listen);
  }, []);
  return narrow;
}
