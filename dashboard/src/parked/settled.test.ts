import { expect, test } from "vitest";

import { settleQueue, type Shown } from "./settled";

const settle = (before: Shown | null, rows: string, filter = "all", waiting = false) => settleQueue(before, [...rows], (it) => it, filter, waiting);

test("what is parked while one looks waits behind a number, wherever in the order it belongs", () => {
  const first = settle(null, "bdf");
  const second = settle(first.next, "abcdf");
  expect([second.shown.join(""), second.fresh]).toEqual(["bdf", 2]);
  // It goes on waiting, until somebody asks for it.
  const third = settle(second.next, "abcdf");
  expect([third.shown.join(""), third.fresh]).toEqual(["bdf", 2]);
  expect(settle(null, "abcdf").shown.join("")).toBe("abcdf");
});

test("what is settled goes, and what comes behind the last row moves nobody", () => {
  const first = settle(null, "bdf");
  expect(settle(first.next, "bf").shown.join("")).toBe("bf");
  expect(settle(first.next, "bdfgh")).toMatchObject({ shown: [..."bdfgh"], fresh: 0 });
});

test("another filter, and a queue that was empty, show all of theirs", () => {
  const first = settle(null, "bd", "one");
  expect(settle(first.next, "bd", "two", true).fresh).toBe(0);
  expect(settle(first.next, "acz", "two")).toMatchObject({ shown: [..."acz"], fresh: 0 });
  expect(settle(settle(null, "").next, "ab")).toMatchObject({ shown: [..."ab"], fresh: 0 });
  // All that was seen is settled, and others have come.
  expect(settle(first.next, "xy", "one")).toMatchObject({ shown: [..."xy"], fresh: 0 });
});
