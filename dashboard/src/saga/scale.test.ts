import { expect, test } from "vitest";

import { scale } from "./scale";

const DAY = 86_400_000;

test("two seconds of work before three days of waiting are most of what is drawn", () => {
  const drawn = scale(0, 3 * DAY, [500, 900, 2_000]);
  expect(drawn.breaks).toEqual([{ from: 2_000, to: 3 * DAY }]);
  expect(drawn.share(2_000)).toBeGreaterThan(0.85);
  expect(drawn.share(3 * DAY)).toBe(1);
  // In their order, and to scale among themselves.
  expect(drawn.share(900) - drawn.share(500)).toBeCloseTo((drawn.share(2_000) - drawn.share(900)) * (400 / 1_100));
});

test("a wait between others is a break as well, and what comes after it is to scale again", () => {
  const drawn = scale(0, 7_204_000, [1_000, 2_000, 3_602_000, 3_603_000, 7_203_000]);
  expect(drawn.breaks.map((it) => it.to - it.from)).toEqual([3_600_000, 3_600_000]);
  expect(drawn.share(3_603_000) - drawn.share(3_602_000)).toBeCloseTo(drawn.share(2_000) - drawn.share(1_000));
});

test("where nothing is too long, all is to scale", () => {
  const drawn = scale(0, 30_000, [4_000, 20_000]);
  expect(drawn.breaks).toEqual([]);
  expect(drawn.share(15_000)).toBeCloseTo(0.5);
  // A saga that has just begun to wait has nothing else to show.
  expect(scale(0, DAY, []).breaks).toEqual([]);
});

test("an instant is found again where it is drawn", () => {
  const drawn = scale(1_000, 3 * DAY, [1_500, 3_000, 2 * DAY]);
  for (const at of [1_000, 1_400, 2_900, 3_000, DAY, 2 * DAY, 3 * DAY]) expect(drawn.at(drawn.share(at))).toBeCloseTo(at, 0);
});
