// What can be written where in a definition: the language's own words by what they stand under, the steps that stand in the
// text, and the actions that workers announce.

import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";

/** The actions of each worker, with what undoes them. */
export type Offers = Record<string, { action: string; compensation?: string | null }[]>;

const ROOT = ["saga", "description", "owner", "runbook", "trigger", "key", "deadline", "signal_ttl", "amount", "currency", "labels", "approval", "input", "steps", "output", "on_compensated", "on_parked"];
const STEP = ["after", "when", "foreach", "pivot", "optional", "worker", "action", "http", "wait", "saga", "compensation", "input", "retry", "timeout", "on_rejected", "on_exhausted", "output_schema"];
/** Of a step that only tells: nothing undoes it, and nothing goes on from it. */
const NOTICE = ["when", "worker", "action", "http", "input", "retry", "timeout"];
const REQUEST = ["method", "url", "headers", "body", "success", "retryable", "idempotency_header", "timeout"];
const UNDER: Record<string, string[]> = {
  retry: ["attempts", "initial", "max", "budget"], compensation: ["action", "http", "retry", "timeout"], wait: ["for", "signal", "timeout"],
  trigger: ["http", "kafka"], kafka: ["topic"], approval: ["actions", "above"], check: ["url", "headers", "found", "absent", "timeout"],
};
const TRIGGER_HTTP = ["method", "path", "role"];
const VALUES: Record<string, string[]> = {
  pivot: ["true"], optional: ["true"], on_rejected: ["compensate", "park"], on_exhausted: ["compensate", "park"], currency: ["KRW"],
  method: ["POST", "PUT", "PATCH", "DELETE", "GET"],
};
const SECTIONS: Record<string, string[]> = { steps: STEP, on_compensated: NOTICE, on_parked: NOTICE };

export function completions(context: CompletionContext, offers: Offers = {}): CompletionResult | null {
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
  // Also within `{ worker: payment, action: … }`.
  const value = /(?:^\s*|[{,]\s*)(\w+):\s+[\w-]*$/.exec(before);
  if (value) {
    const offered = VALUES[value[1] ?? ""] ?? announced(value[1] ?? "", context, offers);
    return offered ? { from: context.matchBefore(/[\w-]*/)?.from ?? from, options: offered.map((label) => ({ label, type: "constant" })) } : null;
  }
  const key = /^(\s*)(\w*)$/.exec(before);
  if (!key || (key[2] === "" && !context.explicit)) return null;
  const words = keysUnder(above(context, (key[1] ?? "").length));
  return words.length === 0 ? null : { from, options: words.map((label) => ({ label, apply: `${label}: `, type: "property" })) };
}

function keysUnder(path: string[]): string[] {
  const last = path.at(-1);
  if (last === undefined) return ROOT;
  const section = SECTIONS[path[0] ?? ""];
  if (path.length === 2 && section) return section;
  // What undoes a step is a call without a check of its own: it is made until it is answered.
  if (last === "http") return path[0] === "trigger" ? TRIGGER_HTTP : path.includes("compensation") ? REQUEST : [...REQUEST, "check"];
  return UNDER[last] ?? [];
}

/** The keys that a line of this indentation stands under, from the root on. */
function above(context: CompletionContext, indentation: number): string[] {
  const path: string[] = [];
  let depth = indentation;
  for (let number = context.state.doc.lineAt(context.pos).number - 1; number >= 1 && depth > 0; number -= 1) {
    const found = /^(\s*)([\w-]+):/.exec(context.state.doc.line(number).text);
    if (!found || (found[1] ?? "").length >= depth) continue;
    depth = (found[1] ?? "").length;
    path.unshift(found[2] ?? "");
  }
  return path;
}

/** What workers announce: their names, and the actions of the one that is named nearest before. */
function announced(key: string, context: CompletionContext, offers: Offers): string[] | null {
  if (key === "worker") return Object.keys(offers);
  if (key !== "action" && key !== "compensation") return null;
  const named = [...context.state.doc.sliceString(0, context.pos).matchAll(/\bworker:\s*([\w-]+)/g)].at(-1)?.[1] ?? "";
  const actions = offers[named] ?? [];
  return key === "action" ? actions.map((it) => it.action) : ["none", ...actions.flatMap((it) => it.compensation ?? [])];
}

function steps(context: CompletionContext): string[] {
  const text = context.state.doc.toString();
  const begins = text.search(/^steps:\s*$/m);
  if (begins < 0) return [];
  const body = text.slice(begins).split("\n").slice(1);
  const end = body.findIndex((line) => /^\S/.test(line) && !line.startsWith("#"));
  return body.slice(0, end < 0 ? undefined : end).flatMap((line) => /^ {2}([A-Za-z_]\w*):/.exec(line)?.[1] ?? []);
}
