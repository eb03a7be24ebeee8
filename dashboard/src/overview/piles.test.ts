import { expect, test } from "vitest";

import { atWork, listed, standing } from "./piles";

test("what is parked is not at work, and is counted once", () => {
  expect(atWork({ count: 5, parked: 2 })).toBe(3);
  expect(standing([{ count: 5, parked: 2 }, { count: 1, parked: 1 }])).toEqual({ running: 3, parked: 3 });
});

test("a number leads to those that it counts", () => {
  expect(listed("checkout", "pay", { running: 3, parked: 2 })).toEqual({ definition: "checkout", step: "pay", status: "running" });
  expect(listed("checkout", "pay", { running: 0, parked: 2 })).toEqual({ definition: "checkout", step: "pay", status: "parked" });
  expect(listed("checkout", "pay", { running: 0, parked: 0 })).toEqual({ definition: "checkout", step: "pay" });
});
