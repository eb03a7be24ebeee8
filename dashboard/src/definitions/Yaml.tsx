// YAML to read, to compare and to write, by CodeMirror.

import { autocompletion, type CompletionContext, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { unifiedMergeView } from "@codemirror/merge";
import { searchKeymap } from "@codemirror/search";
import { EditorState, Transaction, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, showPanel } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { type RefObject, useEffect, useImperativeHandle, useRef } from "react";

import { useT } from "../i18n";
import { useChecked } from "../i18n/said";
import { completions, type Offers } from "./completions";
import type { Mistake } from "./mistakes";

const COLOURS = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--s-running)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--s-completed)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword, tags.typeName], color: "var(--s-compensating)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--muted)", fontStyle: "italic" },
  { tag: [tags.punctuation, tags.separator, tags.meta], color: "var(--muted)" },
]);

/** The styles that CodeMirror puts into the page carry the page's nonce. */
function nonce(): Extension {
  const value = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce;
  return value ? EditorView.cspNonce.of(value) : [];
}

const READING: Extension = [lineNumbers(), yaml(), syntaxHighlighting(COLOURS), EditorView.lineWrapping];

export function YamlView({ source }: { source: string }) {
  const place = useRef<HTMLDivElement>(null);
  const t = useT();
  useEffect(() => {
    if (!place.current) return;
    const view = new EditorView({
      parent: place.current,
      state: EditorState.create({ doc: source, extensions: [nonce(), READING, EditorState.readOnly.of(true), EditorView.contentAttributes.of({ tabindex: "0", "aria-label": t("definitions.text"), "aria-readonly": "true" })] }),
    });
    return () => view.destroy();
  }, [source, t]);
  return <div className="yaml" ref={place} />;
}

export function YamlDiff({ before, after }: { before: string; after: string }) {
  const place = useRef<HTMLDivElement>(null);
  const t = useT();
  useEffect(() => {
    if (!place.current) return;
    const view = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: after,
        extensions: [nonce(), READING, EditorState.readOnly.of(true), EditorView.contentAttributes.of({ tabindex: "0", "aria-label": t("diff"), "aria-readonly": "true" }),
          EditorState.phrases.of({ "$ unchanged lines": t("diff.unchanged") }), unifiedMergeView({ original: before, mergeControls: false, collapseUnchanged: { margin: 4, minSize: 8 } })],
      }),
    });
    return () => view.destroy();
  }, [before, after, t]);
  return <div className="yaml" ref={place} />;
}

export interface EditorHandle { reveal: (line: number, column: number) => void }

/** `plain`: any YAML, without a definition's completions. */
export function YamlEditor({ source, onChange, mistakes, handle, label, offers, plain = false }:
  { source: string; onChange: (source: string) => void; mistakes: Mistake[]; handle: RefObject<EditorHandle | null>; label?: string; offers?: Offers; plain?: boolean }) {
  const t = useT();
  const checked = useChecked();
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  const announced = useRef(offers);
  announced.current = offers;
  const initial = useRef(source);
  useEffect(() => {
    if (!place.current) return;
    const made = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: initial.current,
        extensions: [
          nonce(), lineNumbers(), history(), drawSelection(), indentOnInput(), bracketMatching(), highlightActiveLine(), yaml(), syntaxHighlighting(COLOURS), plain ? [] : [lintGutter(), autocompletion({ override: [(context: CompletionContext) => completions(context, announced.current)] })],
          // Tab indents; Escape and then Tab leaves, as CodeMirror has it. Below the text it says so.
          showPanel.of(() => {
            const dom = Object.assign(document.createElement("div"), { className: "yaml-keys", textContent: t("editor.keys") });
            dom.setAttribute("aria-hidden", "true");
            return { dom };
          }),
          keymap.of([...completionKeymap, ...defaultKeymap, ...historyKeymap, ...searchKeymap, indentWithTab]),
          EditorView.contentAttributes.of({ tabindex: "0", "aria-label": label ?? t("editor.label") }),
          // What is set from outside was written by nobody.
          EditorView.updateListener.of((update) => update.docChanged && !update.transactions.some((it) => it.annotation(Transaction.remote)) && changed.current(update.state.doc.toString())),
        ],
      }),
    });
    view.current = made;
    return () => { initial.current = made.state.doc.toString(); made.destroy(); view.current = null; };
  }, [t, label, plain]);
  useEffect(() => {
    const now = view.current;
    if (now && source !== now.state.doc.toString()) now.dispatch({ changes: { from: 0, to: now.state.doc.length, insert: source }, annotations: Transaction.remote.of(true) });
  }, [source]);
  useEffect(() => {
    const now = view.current;
    if (!now) return;
    const diagnostics = mistakes.map((mistake): Diagnostic => {
      const line = now.state.doc.line(Math.min(now.state.doc.lines, Math.max(1, mistake.line ?? 1)));
      const from = Math.min(line.to, line.from + Math.max(0, (mistake.column ?? 1) - 1));
      return { from, to: Math.max(from, line.to), severity: "error", message: [mistake.code, checked(mistake.detail), mistake.remedy && checked(mistake.remedy)].filter(Boolean).join(" — ") };
    });
    now.dispatch(setDiagnostics(now.state, diagnostics));
  }, [mistakes, checked]);
  useImperativeHandle(handle, () => ({
    reveal(line, column) {
      const now = view.current;
      if (!now) return;
      const at = now.state.doc.line(Math.min(now.state.doc.lines, Math.max(1, line)));
      const position = Math.min(at.to, at.from + Math.max(0, column - 1));
      now.dispatch({ selection: { anchor: position }, effects: EditorView.scrollIntoView(position, { y: "center" }) });
      now.focus();
    },
  }), []);
  return <div className="yaml" ref={place} />;
}
