import { expect, test } from "vitest";

import { isOf } from "./items";

test("one item that is selected has its own history, a step that of all its items; what is about no step stays", () => {
  const events = [{ step: null }, { step: "pay" }, { step: "wrap" }, { step: "wrap", item: 1 }, { step: "wrap", item: 2 }];
  const of = (lane: string | null) => events.flatMap((event, at) => (isOf(event, lane) ? [at] : []));
  expect(of(null)).toEqual([0, 1, 2, 3, 4]);
  expect(of("wrap")).toEqual([0, 2, 3, 4]);
  expect(of("wrap[2]")).toEqual([0, 2, 4]);
  expect(of("pay")).toEqual([0, 1]);
});
