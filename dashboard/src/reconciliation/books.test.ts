import { expect, test } from "vitest";

import { booksOf, TONES } from "./books";

const run = (findings: number, error?: string) => ({ id: "1", at: "2026-01-01T00:00:00Z", took_ms: 1, orders: 2, findings, ...(error === undefined ? {} : { error }) });
const [failed, clean, found] = [run(0, "the orders: refused"), run(0), run(3)];
const stand = (open: number, ...runs: ReturnType<typeof run>[]) => booksOf({ open, runs, ...(runs[0] === undefined ? {} : { run: runs[0] }) });

test("a run that could not read the books says nothing of them: what the last one said that could, still stands", () => {
  expect(stand(3, failed, found)).toBe("differ");
  expect(stand(0, failed, clean)).toBe("agreed");
  expect(stand(0, failed, failed)).toBe("unread");
  expect([TONES.agreed, TONES.unread]).toEqual([undefined, undefined]);
});

test("what is open is what counts, not what was found", () => {
  expect(stand(1, found)).toBe("differ");
  expect(stand(0, found)).toBe("settled");
  expect(stand(0, clean, failed)).toBe("agree");
  expect(stand(0)).toBe("never");
});
