import { expect, test } from "vitest";

import { namedOf, viewOf } from "./views";

const view = (name: string, by: string, query = "status=parked") => ({ name, by, query, shared: true, at: "2026-01-01T00:00:00Z" });

test("a colleague's view is shown and cannot be deleted; one's own of the same query comes first", () => {
  expect(viewOf([view("Night", "lee")], "status=parked", "kim")).toMatchObject({ view: { by: "lee" }, own: false });
  expect(viewOf([view("Night", "lee"), view("Mine", "kim")], "status=parked", "kim")).toMatchObject({ view: { name: "Mine" }, own: true });
  // One's own of that name is of another query: it is not what is looked at.
  expect(viewOf([view("Night", "lee"), view("Night", "kim", "status=late")], "status=parked", "kim")).toMatchObject({ view: { by: "lee" }, own: false });
  expect(viewOf([], "status=parked", "kim")).toEqual({ view: undefined, own: false });
  expect(viewOf([view("Night", "lee")], "status=parked", undefined).own).toBe(false);
});

test("a name that one's own view has is taken; a colleague's is not in the way", () => {
  const views = [view("Night", "lee"), view("Mine", "kim")];
  expect(namedOf(views, " Mine ", "kim")).toMatchObject({ by: "kim" });
  expect(namedOf(views, "Night", "kim")).toBeUndefined();
  expect(namedOf(views, "Min", "kim")).toBeUndefined();
});
