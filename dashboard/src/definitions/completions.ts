// What can be written where in a definition: the language's own words by depth, and the steps that stand in the text.

import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";

const ROOT = ["saga", "description", "owner", "runbook", "trigger", "key", "deadline", "amount", "currency", "labels", "input", "steps", "output", "on_compensated", "on_parked", "approval"];
const STEP = ["worker", "action", "compensation", "after", "input", "retry", "timeout", "pivot", "optional", "when", "foreach", "wait", "saga", "on_rejected", "on_exhausted"];
const RETRY = ["attempts", "initial", "max", "budget"];
const VALUES: Record<string, string[]> = { pivot: ["true"], optional: ["true"], on_rejected: ["compensate", "park"], on_exhausted: ["compensate", "park"], currency: ["KRW"] };

export function completions(context: CompletionContext): CompletionResult | null {
  const line = context.state.doc.lineAt(context.pos);
  const before = line.text.slice(0, context.pos - line.from);
  const word = context.matchBefore(/[\w.]*/);
  const from = word?.from ?? context.pos;
  const expression = /\$\{([^}]*)$/.exec(before);
  if (expression) {
    const path = context.matchBefore(/[\w.]*/);
    return { from: path?.from ?? context.pos, options: [{ label: "input." }, ...steps(context).map((step) => ({ label: `steps.${step}.output.` }))] };
  }
  if (/^\s*after:\s*\[?[^\]]*$/.test(before)) return { from, options: steps(context).map((label) => ({ label, type: "variable" })) };
  const value = /^\s*(\w+):\s+\w*$/.exec(before);
  if (value) {
    const offered = VALUES[value[1] ?? ""];
    return offered ? { from, options: offered.map((label) => ({ label, type: "constant" })) } : null;
  }
  const key = /^(\s*)(\w*)$/.exec(before);
  if (!key || (key[2] === "" && !context.explicit)) return null;
  const depth = (key[1] ?? "").length;
  const words = depth === 0 ? ROOT : /^\s*retry:\s*$/m.test(previous(context)) ? RETRY : depth >= 4 ? STEP : [];
  return words.length === 0 ? null : { from, options: words.map((label) => ({ label, apply: `${label}: `, type: "property" })) };
}

function previous(context: CompletionContext): string {
  const line = context.state.doc.lineAt(context.pos);
  return line.number > 1 ? context.state.doc.line(line.number - 1).text : "";
}

function steps(context: CompletionContext): string[] {
  const text = context.state.doc.toString();
  const begins = text.search(/^steps:\s*$/m);
  if (begins < 0) return [];
  const body = text.slice(begins).split("\n").slice(1);
  const end = body.findIndex((line) => /^\S/.test(line) && !line.startsWith("#"));
  return body.slice(0, end < 0 ? undefined : end).flatMap((line) => /^ {2}([A-Za-z_]\w*):/.exec(line)?.[1] ?? []);
}
