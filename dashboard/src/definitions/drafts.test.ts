import { afterEach, expect, test, vi } from "vitest";

import type { VersionView } from "../api/schema";
import { keepScenarios, moveScenarios, overtaken, scenariosOf } from "./drafts";

afterEach(() => { vi.unstubAllGlobals(); });

test("what was written beside a new definition goes with it, and the next new one begins with none", () => {
  const kept = new Map<string, string>();
  vi.stubGlobal("sessionStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, it: string) => kept.set(key, it), removeItem: (key: string) => kept.delete(key) });
  moveScenarios(null, "checkout");
  expect(scenariosOf("checkout")).toBeNull();
  keepScenarios(null, "# mine");
  moveScenarios(null, "checkout");
  expect([scenariosOf(null), scenariosOf("checkout")]).toEqual([null, "# mine"]);
  moveScenarios("checkout", "checkout");
  expect(scenariosOf("checkout")).toBe("# mine");
  // Under another name it is another definition: the one that it began from keeps what is its own.
  moveScenarios("checkout", "checkout-too");
  expect([scenariosOf("checkout"), scenariosOf("checkout-too")]).toEqual(["# mine", "# mine"]);
});

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
