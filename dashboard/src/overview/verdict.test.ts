import { expect, test } from "vitest";

import { behind, moneyOf, tooOld } from "./verdict";

test("a worker that lives and lags is named, the worst first; one that is gone is another matter", () => {
  const worker = (name: string, lag_ms: number, instances = 1) => ({ worker: name, instances, lag_ms });
  expect(behind([worker("stock", 0), worker("payment", 20_000), worker("order", 90_000), worker("notify", 90_000, 0)]).map((it) => it.worker)).toEqual(["order", "payment"]);
});

test("figures that lag, or were read long ago, are too old for a verdict", () => {
  expect(tooOld(400, 1_000_000, 1_030_000)).toBeNull();
  expect(tooOld(12_000, 1_000_000, 1_001_000)).toBe(13_000);
  expect(tooOld(0, 1_000_000, 1_300_000)).toBe(300_000);
});

test("what waits without an amount is no money at risk", () => {
  expect(moneyOf([{ amount: 0, sagas: 3 }, { amount: 5_000, currency: "KRW", sagas: 1 }, { amount: 0, currency: null, sagas: 1 }]).map((it) => it.amount)).toEqual([5_000]);
});
