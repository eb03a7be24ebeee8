import { expect, test } from "vitest";

import { counted } from "../i18n/format";
import { olderOf } from "./running";

test("beyond its bound a count is no exact one, and neither is the difference of two", () => {
  expect(counted("en", { count: 10_000, capped: true })).toBe("10,000+");
  expect(counted("en", { count: 10_000 })).toBe("10,000");
  const most = { count: 10_000, capped: true };
  expect(olderOf(most, most)).toBeNull();
  expect(olderOf(most, { count: 400, capped: false })).toEqual({ count: 9_600, capped: true });
  expect(olderOf({ count: 7 }, { count: 5 })).toEqual({ count: 2, capped: false });
  expect(olderOf({ count: 5 }, { count: 7 })).toBeNull();
});
