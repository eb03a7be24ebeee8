// JSON to read: folded beyond a depth, copyable, long texts cut with a way to see them whole.

import "./json.css";

import { useState } from "react";

import { Exact, writeExact } from "../api/exact";
import { useT } from "../i18n";
import { Copy } from "./bits";

const TEXT_MAX = 240;
const ITEMS_MAX = 50;

export function Json({ value, label, open = 2 }: { value: unknown; label?: string; open?: number }) {
  return (
    <div className="json">
      <div className="json-copy"><Copy text={writeExact(value, 2)} {...(label ? { label } : {})} /></div>
      <Node value={value} depth={0} open={open} />
    </div>
  );
}

function Node({ name, value, depth, open }: { name?: string; value: unknown; depth: number; open: number }) {
  const t = useT();
  const [isOpen, setOpen] = useState(depth < open);
  const [all, setAll] = useState(false);
  const label = name === undefined ? null : <span className="json-name">{name}: </span>;
  if (value === null || typeof value !== "object" || value instanceof Exact) return <div className="json-line">{label}<Scalar value={value} /></div>;
  const entries: [string, unknown][] = Array.isArray(value) ? value.map((item, at) => [String(at), item]) : Object.entries(value);
  const [before, after] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (entries.length === 0) return <div className="json-line">{label}{before}{after}</div>;
  const shown = all ? entries : entries.slice(0, ITEMS_MAX);
  return (
    <div>
      <button type="button" className="json-fold" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span aria-hidden="true">{isOpen ? "▾" : "▸"}</span> {label}{isOpen ? before : `${before} ${entries.length} ${after}`}
      </button>
      {isOpen && (
        <div className="json-inside">
          {shown.map(([key, item]) => <Node key={key} name={key} value={item} depth={depth + 1} open={open} />)}
          {shown.length < entries.length && <button type="button" className="link" onClick={() => setAll(true)}>{t("show_all", { count: entries.length })}</button>}
        </div>
      )}
      {isOpen && <div className="json-line">{after}</div>}
    </div>
  );
}

function Scalar({ value }: { value: unknown }) {
  const t = useT();
  const [whole, setWhole] = useState(false);
  if (typeof value !== "string") return <span className="json-value">{String(value)}</span>;
  if (value.length <= TEXT_MAX || whole) return <span className="json-text">"{value}"</span>;
  return <span className="json-text">"{value.slice(0, TEXT_MAX)}…" <button type="button" className="link" onClick={() => setWhole(true)}>{t("show_whole")}</button></span>;
}
