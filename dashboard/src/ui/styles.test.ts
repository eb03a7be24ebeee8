// No page uses a class whose style only another page loads: it would look right or wrong by where one came from.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";

import { expect, test } from "vitest";

const HERE = resolve(import.meta.dirname, "..");
const files = readdirSync(HERE, { recursive: true, encoding: "utf8" }).map(normalize);
const text = (path: string) => readFileSync(join(HERE, path), "utf8");

/** Which style sheets define a class. */
const sheets = new Map<string, Set<string>>();
for (const path of files.filter((it) => it.endsWith(".css"))) {
  for (const [, name] of text(path).matchAll(/\.([a-zA-Z][\w-]*)/g)) sheets.set(name ?? "", (sheets.get(name ?? "") ?? new Set()).add(path));
}

/** What a file imports at once, itself among it. */
function closure(from: string): Set<string> {
  const seen = new Set<string>();
  const open = [from];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    if (path.endsWith(".css")) continue;
    for (const [, to] of text(path).matchAll(/(?:from|import)\s+"(\.[^"]+)"/g)) {
      const found = ["", ".ts", ".tsx", "/index.ts"].map((end) => resolve(HERE, dirname(path), `${to}${end}`)).find((it) => existsSync(it) && /\.\w+$/.test(it));
      if (found) open.push(relative(HERE, found));
    }
  }
  return seen;
}

function classes(source: string): Set<string> {
  const found = [...source.matchAll(/className=(?:"([^"]*)"|\{`([^`]*)`\})/g)].map(([, plain, built]) => plain ?? built?.replace(/\$\{[^}]*\}/g, " ") ?? "");
  return new Set(found.flatMap((it) => it.match(/(?<![\w-])[a-z][\w-]*/g) ?? []));
}

test.each(files.filter((it) => /Page\.tsx$/.test(it)))("%s loads the styles that it uses", (page) => {
  const loaded = new Set([...closure("main.tsx"), ...closure(page)]);
  const missing: string[] = [];
  for (const path of loaded) {
    if (!path.endsWith(".tsx")) continue;
    for (const name of classes(text(path))) {
      const of = sheets.get(name);
      if (of && ![...of].some((it) => loaded.has(it))) missing.push(`${path}: .${name} is in ${[...of].join(", ")}`);
    }
  }
  expect(missing).toEqual([]);
});
