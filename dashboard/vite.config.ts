import { realpathSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

// The engine serves the built files under /ui/ and replaces the nonce in index.html at each request.
const api = process.env["AMENDS_URL"] ?? "http://127.0.0.1:8080";

const SMALLEST_BYTES = 1_024;

/** Compresses once, here, what the engine would have to compress for every reader. */
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => { folder = config.build.outDir; },
    async closeBundle() {
      for (const name of await readdir(folder, { recursive: true })) {
        if (!/\.(js|css|svg)$/.test(name)) continue;
        const bytes = await readFile(join(folder, name));
        if (bytes.length >= SMALLEST_BYTES) await writeFile(join(folder, `${name}.gz`), gzipSync(bytes, { level: 9 }));
      }
    },
  };
}

/** All test files in one process: on a loaded machine the start of each more would take longer than its tests. */
const ONE_WORKER = { fileParallelism: false, isolate: false };

/** Everywhere in the same order: what one file leaves behind, the next ones meet in CI as they did here. */
class ByName extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.sort((one, other) => one.moduleId.localeCompare(other.moduleId));
  }
}

export default defineConfig({
  base: "/ui/",
  plugins: [react(), compressed()],
  html: { cspNonce: "%NONCE%" },
  build: { outDir: "dist", target: "es2022", assetsInlineLimit: 0, sourcemap: false, chunkSizeWarningLimit: 2000 },
  server: {
    port: 5173,
    // The libraries may be a link to a folder outside of the clone.
    fs: { allow: [".", realpathSync("node_modules")] },
    proxy: Object.fromEntries(
      ["/sagas", "/definitions", "/ops", "/auth", "/authoring", "/openapi.json", "/healthz", "/readyz", "/metrics"].map((path) => [path, api]),
    ),
  },
  test: {
    sequence: { sequencer: ByName },
    projects: [
      { extends: true, test: { name: "unit", include: ["src/**/*.test.ts"], environment: "node", ...ONE_WORKER, testTimeout: 60_000 } },
      {
        test: {
          name: "browser",
          include: ["tests/**/*.test.ts"],
          environment: "node",
          globalSetup: "tests/stack.ts",
          ...ONE_WORKER,
          expect: { poll: { timeout: 60_000, interval: 100 } },
          testTimeout: 600_000,
          hookTimeout: 240_000,
        },
      },
      { test: { name: "bench", include: ["bench/**/*.bench.ts"], environment: "node", testTimeout: 600_000 } },
    ],
  },
});
