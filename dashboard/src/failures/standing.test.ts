import { expect, test } from "vitest";

import { isRefusal, standingOf } from "./standing";

const now = { parked: 0, retrying: 1, compensated: 0 };
const group = { kind: "retryable", direction: "execute", trend: [0, 0, 3], last_seen: "2026-11-21T14:30:00Z", now };

test("a group failed again only where somebody retried it, and it failed since", () => {
  expect(standingOf(group, undefined)).toBe("grows");
  expect(standingOf(group, "2026-11-21T14:29:00Z")).toBe("failed_again");
  // The retry is newer than the newest failure: the fix holds so far.
  expect(standingOf(group, "2026-11-21T14:31:00Z")).toBe("grows");
});

test("a group that was silent for a while is stuck, or over", () => {
  expect(standingOf({ ...group, trend: [3, 0, 0] }, undefined)).toBe("stuck");
  expect(standingOf({ ...group, trend: [3, 0, 0], now: { ...now, retrying: 0 } }, "2026-11-21T14:29:00Z")).toBe("over");
});

test("a refused card is no outage; where somebody has to decide on it, that is said", () => {
  const refusal = { ...group, kind: "rejected", now: { parked: 0, retrying: 0, compensated: 3 } };
  expect(standingOf(refusal, undefined)).toBe("refused");
  expect(standingOf({ ...refusal, trend: [3, 0, 0] }, undefined)).toBe("refused_before");
  const parked = { ...refusal, now: { parked: 2, retrying: 0, compensated: 0 } };
  expect(standingOf(parked, undefined)).toBe("refused_parked");
  expect(standingOf(parked, "2026-11-21T14:29:00Z")).toBe("failed_again");
  expect(standingOf({ ...parked, trend: [3, 0, 0] }, undefined)).toBe("stuck");
});

test("a refund that is refused is trouble, and so is what an older engine does not name", () => {
  expect(isRefusal({ kind: "rejected", direction: "compensate" })).toBe(false);
  expect(isRefusal({ direction: "execute" })).toBe(false);
});
