import { expect, test } from "vitest";

import type { VersionView } from "../api/schema";
import { overtaken } from "./drafts";

const version = (name: string, active: boolean): VersionView => ({ version: name, active, source: `saga: ${name}`, published_at: "2026-01-01T00:00:00Z" });

test("what somebody published while a text was written is not replaced unseen", () => {
  const theirs = version("b", true);
  expect(overtaken([version("a", false), theirs], "a", "c")).toBe(theirs);
  // A new text of a name that is published meanwhile.
  expect(overtaken([theirs], null, "c")).toBe(theirs);
});

test("what the text began from, what it says itself, and what is not active are no others", () => {
  expect(overtaken([version("a", true), version("b", false)], "a", "c")).toBeNull();
  expect(overtaken([version("c", true)], "a", "c")).toBeNull();
  expect(overtaken(undefined, null, "c")).toBeNull();
});
