import { expect, test } from "vitest";

import { acknowledgement, bound, choose, type Chosen } from "./deed";

test("a filter's job is bounded by the number that its button says; a set that is named needs no bound", () => {
  expect(bound({ filter: "status=parked" }, { sagas: 12 })).toEqual({ sagas_max: 12 });
  expect(bound({ sagas: ["a", "b"] }, { sagas: 2 })).toEqual({});
});

test("what was ticked for one deed is not sent with another", () => {
  const abandoning: Chosen = { kind: "action", action: "abandon", acknowledged: true };
  expect(choose(abandoning, "replay")).toMatchObject({ kind: "replay", acknowledged: false });
  expect(choose({ kind: "replay", action: "retry", acknowledged: true }, "abandon")).toEqual({ kind: "action", action: "abandon", acknowledged: false });
});

test("a replay and an abandoning are each ticked in words of their own; what heals needs none", () => {
  expect(acknowledgement({ kind: "replay", action: "abandon" })).toEqual({ words: "bulk.ack.replay", must: false });
  // Of one saga whose warnings were shown, nothing would be left to replay without it.
  expect(acknowledgement({ kind: "replay", action: "abandon" }, true)).toEqual({ words: "replay.ack", must: true });
  expect(acknowledgement({ kind: "action", action: "retry" }, true)).toBeNull();
  expect(acknowledgement({ kind: "action", action: "abandon" })).toEqual({ words: "act.ack.abandon", must: true });
  expect(acknowledgement({ kind: "action", action: "retry" })).toBeNull();
});
