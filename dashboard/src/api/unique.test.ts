// Over plain HTTP a browser has neither `crypto.randomUUID` nor `crypto.subtle` nor a clipboard.

import { webcrypto } from "node:crypto";

import { afterEach, expect, test, vi } from "vitest";

import { challenge, NotSecure } from "../settings/oidc";
import { copied } from "../ui/copies";
import { unique } from "./unique";

afterEach(() => { vi.unstubAllGlobals(); });
const plain = () => vi.stubGlobal("crypto", { getRandomValues: (bytes: Uint8Array) => webcrypto.getRandomValues(bytes) });

test("a key is made over plain HTTP, and each is another", () => {
  plain();
  const keys = Array.from({ length: 100 }, unique);
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(keys).size).toBe(keys.length);
});

test("signing in at a provider says that it needs HTTPS", async () => {
  plain();
  await expect(challenge("verifier")).rejects.toBeInstanceOf(NotSecure);
});

test("where there is no clipboard, or it refuses, nothing is said to be copied", async () => {
  vi.stubGlobal("navigator", {});
  expect(await copied("text")).toBe(false);
  vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.reject(new Error("denied")) } });
  expect(await copied("text")).toBe(false);
  const written: string[] = [];
  vi.stubGlobal("navigator", { clipboard: { writeText: (text: string) => { written.push(text); return Promise.resolve(); } } });
  expect([await copied("text"), written]).toEqual([true, ["text"]]);
});
