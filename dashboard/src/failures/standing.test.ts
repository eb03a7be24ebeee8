import { expect, test } from "vitest";

import { standingOf } from "./standing";

const now = { parked: 0, retrying: 1, compensated: 0 };
const group = { trend: [0, 0, 3], last_seen: "2026-11-21T14:30:00Z", now };

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
