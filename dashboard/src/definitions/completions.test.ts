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
