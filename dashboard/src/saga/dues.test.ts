import { expect, test } from "vitest";

import type { StepView, TrackView } from "../api/schema";
import { timers } from "./dues";

const track = (state: string, due_at: string | null): TrackView => ({ state, due_at, attempt: 1, charged: 1, round: 1 });
const step = (name: string, rest: Partial<StepView>): StepView => ({ step: name, action: "go", state: "", ...rest });

test("every pending timer is there, the next one first, and none of a saga that has ended", () => {
  const steps = [
    step("pay", { execute: track("retrying", "2026-11-21T14:02:00Z") }), step("wait", { execute: track("waiting", "2026-11-21T14:01:00Z") }),
    step("done", { execute: track("succeeded", null) }),
  ];
  const saga = { steps, phase: "forward", deadline: "2026-11-21T15:00:00Z" };
  expect(timers(saga).map((it) => [it.what, it.step])).toEqual([["wait_ends", "wait"], ["retry", "pay"], ["deadline", ""]]);
  expect(timers({ ...saga, phase: "committed" }).map((it) => it.what)).toEqual(["wait_ends", "retry"]);
  expect(timers({ ...saga, ended_at: "2026-11-21T14:03:00Z" })).toEqual([]);
});
