import { expect, test } from "vitest";

import { told } from "./decided";

test("that it was approved is no word of what came of it", () => {
  expect(told({ state: "approved", result: "applied" })).toMatchObject({ key: "approvals.approved", tone: "completed" });
  expect(told({ state: "approved", result: "refused: the saga has moved on since you looked" })).toMatchObject({ key: "approvals.refused", tone: "parked", reason: "the saga has moved on since you looked" });
  expect(told({ state: "approved", result: "ignored: it waits: for nothing" })).toMatchObject({ key: "approvals.ignored", tone: "parked", reason: "it waits: for nothing" });
  expect(told({ state: "approved" })).toMatchObject({ key: "approvals.accepted", tone: "retrying" });
  expect(told({ state: "rejected" })).toMatchObject({ key: "approvals.rejected", tone: "completed" });
});
