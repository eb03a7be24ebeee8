import { expect, test } from "vitest";

import type { StepView } from "../api/schema";
import { translate } from "../i18n";
import { graphSteps, worstOf } from "./graphSteps";
import { best, nextTry } from "./plans";

const t = (key: Parameters<typeof translate>[1], values?: Parameters<typeof translate>[2]) => translate("en", key, values);
const step = (name: string, state: string, rest: Partial<StepView> = {}): StepView => ({ step: name, state, action: "act", worker: "gifts", ...rest });

test("a foreach is one node by its name, so that what comes after it stays joined to it; it says how its items stand", () => {
  const drawn = graphSteps([
    step("reserve", "succeeded"),
    step("wrap", "succeeded", { item: 0, after: ["reserve"] }), step("wrap", "exhausted", { item: 1, after: ["reserve"] }), step("wrap", "running", { item: 2, after: ["reserve"] }),
    step("pay", "pending", { after: ["wrap"] }),
  ], t, (it) => it);
  expect(drawn.map((it) => [it.id, it.after, it.state])).toEqual([["reserve", [], "succeeded"], ["wrap", ["reserve"], "exhausted"], ["pay", ["wrap"], "pending"]]);
  const wrap = drawn.find((it) => it.id === "wrap");
  expect([wrap?.note, wrap?.about]).toEqual(["1/3", "3 items: 1 done, 1 open. Failed: [1]."]);
});

test("of a foreach's items the worst one is its state, in whatever order they come", () => {
  expect([worstOf(["rejected", "succeeded"]), worstOf(["succeeded", "rejected"]), worstOf([])]).toEqual(["rejected", "rejected", undefined]);
});

test("what is tried next is tried of the item that is due, and what is suggested is about the item that is parked", () => {
  const retry = (item: number) => ({ action: "retry" as const, step: "wrap", item, allowed: true, needs: [] });
  const plans = [retry(0), retry(1), retry(2)];
  expect(nextTry(plans, { what: "retry", step: "wrap", item: 2, at: "2026-01-01T00:00:00Z" })?.item).toBe(2);
  expect(nextTry(plans, { what: "timeout", step: "wrap", item: 2, at: "2026-01-01T00:00:00Z" })).toBeUndefined();
  expect(best(plans, { parked: { why: "exhausted", message: "", step: "wrap", item: 1 } })?.item).toBe(1);
});
