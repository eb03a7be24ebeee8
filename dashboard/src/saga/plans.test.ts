import { expect, test } from "vitest";

import { parseExact } from "../api/exact";
import { firstText } from "./plans";

test("an input begins as the step's own; a step that never began has none, and the saga's is not it", () => {
  expect(firstText({ action: "retry_edited", allowed: true, needs: ["input"], input: { amount: 1 } })).toBe('{\n  "amount": 1\n}');
  expect(firstText({ action: "retry_edited", allowed: true, needs: ["input"] })).toBe("");
  expect(firstText({ action: "retry_edited", allowed: true, needs: ["input"], input: null })).toBe("");
  expect(firstText({ action: "skip", allowed: true, needs: ["output"] })).toBe("");
});

test("the digits of a large number are offered as they are", () => {
  expect(firstText({ action: "retry_edited", allowed: true, needs: ["input"], input: parseExact('{"order":9007199254740993}') })).toContain("9007199254740993");
});
