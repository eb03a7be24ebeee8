import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The engine serves the built files under /ui/ and replaces the nonce in index.html at each request.
const api = process.env["AMENDS_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/ui/",
  plugins: [react()],
  html: { cspNonce: "%NONCE%" },
  build: { outDir: "dist", target: "es2022", assetsInlineLimit: 0, sourcemap: false, chunkSizeWarningLimit: 2000 },
  server: {
    port: 5173,
    proxy: Object.fromEntries(
      ["/sagas", "/definitions", "/ops", "/auth", "/authoring", "/openapi.json", "/healthz", "/readyz", "/metrics"].map((path) => [path, api]),
    ),
  },
  test: {
    projects: [
      { extends: true, test: { name: "unit", include: ["src/**/*.test.ts"], environment: "node" } },
      {
        test: {
          name: "browser",
          include: ["tests/**/*.test.ts"],
          environment: "node",
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
