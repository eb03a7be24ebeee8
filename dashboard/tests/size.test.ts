// How much script a browser must fetch before the overview is there.

import { get } from "node:http";

import { expect, inject, test } from "vitest";

const FIRST_LOAD_BYTES_MAX = 300_000;

/** The bytes of an answer as they travel. */
function travelled(url: string): Promise<Buffer> {
  return new Promise((done, failed) => {
    get(url, { headers: { "accept-encoding": "gzip" } }, (response) => {
      if (response.statusCode !== 200) return failed(new Error(`${url}: ${response.statusCode}`));
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => done(Buffer.concat(chunks)));
      response.on("error", failed);
    }).on("error", failed);
  });
}

test("the overview needs less than 300 KB of compressed script", async () => {
  const { ui } = inject("urls");
  const page = await (await fetch(`${ui}/ui/`)).text();
  // The entry and all that it imports at once; what loads later is in none of these.
  const scripts = [...page.matchAll(/<(?:script|link)[^>]*(?:src|href)="([^"]+\.js)"/g)].map(([, path]) => path ?? "");
  expect(scripts.length).toBeGreaterThan(0);
  const sizes = await Promise.all(scripts.map(async (path) => [path, (await travelled(new URL(path, ui).href)).length] as const));
  const sum = sizes.reduce((all, [, size]) => all + size, 0);
  console.info(`first load: ${Math.round(sum / 1_000)} KB in ${sizes.length} files`);
  expect(sum, JSON.stringify(sizes)).toBeLessThan(FIRST_LOAD_BYTES_MAX);
  for (const lazy of ["elk", "Graph", "Yaml", "Chart"]) expect(scripts.filter((path) => path.includes(lazy)), lazy).toEqual([]);
});
