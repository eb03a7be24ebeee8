// Every word that a page asks for is there, in both languages, and no word is kept that no page asks for.

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { expect, test } from "vitest";

import { en } from "./en";
import { ko } from "./ko";

const HERE = resolve(import.meta.dirname, "..");
const sources = readdirSync(HERE, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.tsx?$/.test(name) && !name.endsWith(".test.ts") && !/^i18n\/(en|ko)/.test(name) && !name.startsWith("api/schema"))
  .map((name) => readFileSync(join(HERE, name), "utf8")).join("\n");

/** Beginnings that a page completes with a word of the engine's: `` t(`state.${…}`) `` and `term(t, "state", …)`. */
const begun = [...sources.matchAll(/`([a-z_.]+\.)\$\{/g), ...sources.matchAll(/term\(t, "([a-z_]+)"/g)].map(([, it]) => (it?.endsWith(".") ? it : `${it}.`));

test("Korean has the words that English has", () => {
  expect(Object.keys(ko).sort()).toEqual(Object.keys(en).sort());
});

test("no word is empty, and both languages fill in the same values", () => {
  const places = (words: string) => [...new Set(words.match(/\{\w+\}/g) ?? [])].sort();
  for (const [key, words] of Object.entries(en)) {
    expect(words.trim(), key).not.toBe("");
    // "1 saga" needs no number.
    if (!key.endsWith("_one")) expect(places(ko[key as keyof typeof ko]), key).toEqual(places(words));
  }
});

test("every word is asked for", () => {
  const asked = (key: string) => sources.includes(`"${key}"`) || sources.includes(`\`${key}\``) || begun.some((it) => key.startsWith(it));
  const plain = (key: string) => key.replace(/_one$/, "");
  expect(Object.keys(en).filter((key) => !asked(key) && !asked(plain(key)))).toEqual([]);
});
