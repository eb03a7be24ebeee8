import { expect, test } from "vitest";

import { moment } from "./format";

const at = (text: string) => Date.parse(`${text}:00`); // in the reader's time zone, whatever it is

test("an instant of today is told by its time, another one also by its date, both with how long ago", () => {
  const now = at("2026-11-21T04:12");
  expect(moment("en", at("2026-11-21T03:12"), now)).toMatch(/^03:12 \(1 hr\.? ago\)$/);
  expect(moment("en", at("2026-11-20T03:12"), now)).toMatch(/^Nov 20, 03:12 \((yesterday|1 day ago)\)$/);
  expect(moment("ko", at("2026-11-18T03:12"), now)).toBe("11월 18일 03:12 (3일 전)");
  expect(moment("en", at("2025-11-18T03:12"), now)).toContain("2025");
});
