import { expect, test } from "vitest";

import { bound } from "./deed";

test("a filter's job is bounded by the number that its button says; a set that is named needs no bound", () => {
  expect(bound({ filter: "status=parked" }, { sagas: 12 })).toEqual({ sagas_max: 12 });
  expect(bound({ sagas: ["a", "b"] }, { sagas: 2 })).toEqual({});
});
