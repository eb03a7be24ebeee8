import { expect, test } from "vitest";

import { isThere, placeOf } from "./rows";

test("the keyboard stays with its row when others come before it", () => {
  const at = { key: "b", index: 1 };
  expect(placeOf(["a", "b", "c"], at)).toBe(1);
  expect(placeOf(["x", "y", "a", "b", "c"], at)).toBe(3);
});

test("a row that is gone is not whoever slid into its place; the keyboard goes on from there", () => {
  const at = { key: "b", index: 1 };
  expect(isThere(["a", "c"], at)).toBe(false);
  expect(placeOf(["a", "c", "d"], at)).toBe(1);
  expect(placeOf(["a"], at)).toBe(0);
  expect(placeOf([], at)).toBe(0);
});

test("before any row has it, the keyboard is at the first", () => {
  const nowhere = { key: null, index: 0 };
  expect(placeOf(["a", "b"], nowhere)).toBe(0);
  expect(isThere(["a", "b"], nowhere)).toBe(true);
});
