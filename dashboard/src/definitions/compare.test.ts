import { expect, test } from "vitest";

import { changedKeys, compare } from "./compare";
import { beside, outline } from "./outline";

const BEFORE = `
saga: order
deadline: 1h
steps:
  create: { worker: order, action: create, compensation: cancel }
  pay: { worker: payment, action: confirm, compensation: cancel, after: [create, look], retry: { attempts: 8, initial: 500ms } }
  look: { worker: stock, action: look, compensation: none }
  gone: { worker: stock, action: look, compensation: none }
`;
const AFTER = `
saga: order
deadline: 2h
steps:
  create: { action: create, worker: order, compensation: cancel }
  pay: { worker: payment, action: confirm, compensation: cancel, after: [look, create], retry: { initial: 500ms, attempts: 3 }, timeout: 5s }
  look: { worker: stock, action: look, compensation: none }
  come: { worker: stock, action: look, compensation: none }
`;

test("a step of which only the retries and the timeout changed is marked, with what changed", async () => {
  const steps = compare(await outline(BEFORE), await outline(AFTER));
  expect(steps.map((it) => [it.id, it.change, it.note])).toEqual([
    ["create", undefined, undefined], ["pay", "changed", "retry, timeout"], ["look", undefined, undefined], ["come", "added", undefined], ["gone", "removed", undefined],
  ]);
});

test("what changed beside the steps is told, too", async () => {
  expect(changedKeys(await beside(BEFORE), await beside(AFTER))).toEqual(["deadline"]);
});
