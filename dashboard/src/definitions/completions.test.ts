import { readFileSync } from "node:fs";
import { join } from "node:path";

import { CompletionContext } from "@codemirror/autocomplete";
import { EditorState } from "@codemirror/state";
import { expect, test } from "vitest";

import { completions } from "./completions";

const OFFERS = { payment: [{ action: "confirm", compensation: "cancel" }], stock: [{ action: "look" }] };

/** What is offered where `|` stands. */
function offered(text: string): string[] {
  const pos = text.indexOf("|");
  const state = EditorState.create({ doc: text.replace("|", "") });
  return completions(new CompletionContext(state, pos, true), OFFERS)?.options.map((it) => it.label) ?? [];
}

test("the words of the place where one writes are offered", () => {
  expect(offered("sa|")).toContain("deadline");
  expect(offered("steps:\n  pay:\n    wo|")).toContain("on_rejected");
  expect(offered("steps:\n  pay:\n    retry:\n      a|")).toEqual(["attempts", "initial", "max", "budget"]);
  expect(offered("steps:\n  pay:\n    compensation:\n      a|")).toEqual(["action", "http", "retry", "timeout"]);
  expect(offered("trigger:\n  http:\n    |")).toEqual(["method", "path", "role"]);
  expect(offered("steps:\n  |")).toEqual([]);
});

test("steps of the text, and what workers announce, are offered as values", () => {
  expect(offered("steps:\n  pay:\n    worker: payment\n  ship:\n    after: [p|]")).toEqual(["pay", "ship"]);
  expect(offered("steps:\n  pay:\n    worker: |")).toEqual(["payment", "stock"]);
  expect(offered("steps:\n  pay:\n    worker: payment\n    action: c|")).toEqual(["confirm"]);
  expect(offered("steps:\n  pay: { worker: payment, action: confirm, compensation: |")).toEqual(["none", "cancel"]);
  expect(offered("steps:\n  pay:\n    input: { id: ${st|} }")).toContain("steps.pay.output.");
});

interface Schema { $ref?: string; type?: string; properties?: Record<string, Schema>; additionalProperties?: unknown; allOf?: Schema[]; oneOf?: Schema[]; definitions?: Record<string, Schema> }
const LANGUAGE = JSON.parse(readFileSync(join(import.meta.dirname, "../../../docs/saga.schema.json"), "utf8")) as Schema;

/** What may stand in a place of the language: all that its parts and its choices say. */
function parts(of: Schema): Schema[] {
  const named = of.$ref === undefined ? undefined : LANGUAGE.definitions?.[of.$ref.replace("#/definitions/", "")];
  return [of, ...[named ?? [], of.allOf ?? [], of.oneOf ?? []].flat().flatMap(parts)];
}

/** Each place that has keys, by its path; `any` stands for a name of one's own. */
function places(of: Schema, path: string[] = []): [path: string[], keys: string[]][] {
  const all = parts(of);
  // One part may only narrow what another says of the same key.
  const keys = new Map<string, Schema[]>();
  for (const [key, value] of all.flatMap((it) => Object.entries(it.properties ?? {}))) keys.set(key, [...keys.get(key) ?? [], value]);
  const own = all.flatMap(({ additionalProperties: it }) => (it !== null && typeof it === "object" && "$ref" in it ? [it as Schema] : []));
  return [
    ...(keys.size > 0 ? [[path, [...keys.keys()]] as [string[], string[]]] : []),
    ...[...keys].flatMap(([key, said]) => places({ allOf: said }, [...path, key])),
    ...own.flatMap((it) => places(it, [...path, "any"])),
  ];
}

test("every word of the language is offered where it can stand, and no other", () => {
  const found = places(LANGUAGE);
  // Names of one's own are not the language's, nor are the schemas of an input and an output: they have no keys here.
  expect(found.map(([path]) => path.join("."))).toEqual(expect.arrayContaining([
    "", "trigger", "trigger.http", "trigger.kafka", "approval", "steps.any", "steps.any.wait", "steps.any.retry", "steps.any.compensation", "steps.any.http", "steps.any.http.check",
    "steps.any.compensation.http", "on_compensated.any", "on_parked.any.http",
  ]));
  for (const [path, keys] of found) {
    const text = path.map((key, depth) => `${"  ".repeat(depth)}${key}:\n`).join("");
    expect(offered(`${text}${"  ".repeat(path.length)}|`).sort(), path.join(".")).toEqual(keys.sort());
  }
});
