import { expect, test } from "vitest";

import type { StepView } from "../api/schema";
import { moved, triedOnly } from "./moved";

const step = (name: string, state: string, attempt: number): StepView => ({ step: name, state, action: "work", after: [], execute: { state, attempt, attempts_max: 5, round: 1 } }) as unknown as StepView;
const saga = (status: string, ...steps: StepView[]) => ({ status, phase: "forward", steps });

test("what moved is told step by step, with the saga's own state first", () => {
  const moves = moved(saga("running", step("stock", "succeeded", 1), step("pay", "retrying", 2)), saga("completed", step("stock", "succeeded", 1), step("pay", "succeeded", 3)));
  expect(moves).toEqual([
    { step: null, before: { state: "running", attempt: 0 }, after: { state: "completed", attempt: 0 } },
    { step: "pay", before: { state: "retrying", attempt: 2 }, after: { state: "succeeded", attempt: 3 } },
  ]);
  expect(triedOnly(moves)).toBe(false);
});

test("another try of the same is told, but is nothing to decide on", () => {
  const moves = moved(saga("running", step("pay", "retrying", 2)), saga("running", step("pay", "retrying", 3)));
  expect(moves.map((it) => it.step)).toEqual(["pay"]);
  expect(triedOnly(moves)).toBe(true);
});
