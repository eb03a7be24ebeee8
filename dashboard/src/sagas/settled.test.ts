import { expect, test } from "vitest";

import { PAGE } from "../api/queries";
import { PAGES_MAX, readsOn, rereadMs, settle } from "./settled";

const rows = (...ids: string[]) => ids.map((saga) => ({ saga }));
const ids = (list: { saga: string }[]) => list.map((it) => it.saga).join("");

test("what is newer than what was seen waits", () => {
  const first = settle(null, rows("c", "b", "a"), "all", false);
  expect([ids(first.shown), first.fresh]).toEqual(["cba", 0]);
  const then = settle(first.seen, rows("e", "d", "c", "b", "a"), "all", false);
  expect([ids(then.shown), then.fresh]).toEqual(["cba", 2]);
});

test("under another filter everything is shown, also what is newer than all under the filter before", () => {
  const parked = settle(null, rows("b"), "parked", false);
  // The rows of the filter before, until those of this one come.
  const between = settle(parked.seen, rows("b"), "completed", true);
  expect([ids(between.shown), between.fresh]).toEqual(["b", 0]);
  const completed = settle(between.seen, rows("e", "d", "a"), "completed", false);
  expect([ids(completed.shown), completed.fresh]).toEqual(["eda", 0]);
});

test("a list that was empty shows what comes", () => {
  const empty = settle(null, rows(), "all", false);
  const one = settle(empty.seen, rows("a"), "all", false);
  expect([ids(one.shown), one.fresh]).toEqual(["a", 0]);
});

test("where everything that is read is new, it is shown: a list of the seen ones would be empty", () => {
  const first = settle(null, rows("b", "a"), "all", false);
  const then = settle(first.seen, rows("e", "d", "c"), "all", false);
  expect([ids(then.shown), then.fresh]).toEqual(["edc", 0]);
  const after = settle(then.seen, rows("f", "e", "d"), "all", false);
  expect([ids(after.shown), after.fresh]).toEqual(["ed", 1]);
});

test("so many pages are read, and no more", () => {
  expect([readsOn(1, true), readsOn(PAGES_MAX - 1, true), readsOn(PAGES_MAX, true), readsOn(1, false)]).toEqual([true, true, false, false]);
});

test("ten thousand rows can be read, and the more there are the more seldom the clock reads them all again", () => {
  expect(PAGES_MAX * PAGE).toBeGreaterThanOrEqual(10_000);
  expect([rereadMs(1, 2_000), rereadMs(PAGES_MAX, 2_000), rereadMs(PAGES_MAX, 30_000)]).toEqual([2_000, 10_000, 30_000]);
});
