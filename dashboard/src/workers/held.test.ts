import { expect, test } from "vitest";

import type { Hold } from "../api/contract";
import { heldBy } from "./held";

const hold = (id: string, of: Partial<Hold>): Hold => ({ id, kind: "starts", why: "", by: "ada", at: "2026-01-01T00:00:00Z", held_back: 0, ...of });
const HOLDS = [
  hold("starts", {}), hold("checkout", { kind: "definition", definition: "checkout" }), hold("pay", { kind: "action", worker: "payment", action: "confirm" }),
  hold("stock", { kind: "action", worker: "stock" }),
];
const names = (...it: Parameters<typeof heldBy>) => heldBy(...it).map(({ id }) => id);

test("what is held back already is known by its kind and by what it is of", () => {
  expect(names(HOLDS, { kind: "starts" }, "")).toEqual(["starts"]);
  expect(names(HOLDS, { kind: "definition", definition: "checkout" }, "")).toEqual(["checkout"]);
  expect(names(HOLDS, { kind: "definition", definition: "refund" }, "")).toEqual([]);
  expect(names(HOLDS, { kind: "action", worker: "payment", actions: [] }, "confirm")).toEqual(["pay"]);
  expect(names(undefined, { kind: "starts" }, "")).toEqual([]);
});

test("a hold of all that a worker does holds each of it; that of one action does not hold all", () => {
  expect(names(HOLDS, { kind: "action", worker: "stock", actions: [] }, "release")).toEqual(["stock"]);
  expect(names(HOLDS, { kind: "action", worker: "payment", actions: [] }, "")).toEqual([]);
  expect(names(HOLDS, { kind: "action", worker: "payment", actions: [] }, "cancel")).toEqual([]);
});
