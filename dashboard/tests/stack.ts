// The stack that the browser's tests look at: `amends dev`, with its own Postgres, workers and Toss sandbox. Nothing is mocked.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import type { TestProject } from "vitest/node";

const READY_MS = 600_000;
const ROOT = resolve(import.meta.dirname, "../..");

/** `data`: the folder of the stack, where it is known. */
export interface Urls { ui: string; api: string; sandbox: string; data: string | null }

declare module "vitest" {
  export interface ProvidedContext { urls: Urls }
}

export function engineBinary(): string {
  const binary = process.env["AMENDS_BIN"] ?? join(process.env["CARGO_TARGET_DIR"] ?? join(ROOT, "target"), "debug/amends");
  if (!existsSync(binary)) throw new Error(`${binary} is missing: cargo build -p amends`);
  return binary;
}

/** vitest's global setup: one stack for all files. `AMENDS_URL` names one that runs already, `AMENDS_UI_URL` Vite's own server before it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const api = process.env["AMENDS_URL"];
  if (api !== undefined) {
    project.provide("urls", { ui: process.env["AMENDS_UI_URL"] ?? api, api, sandbox: process.env["AMENDS_SANDBOX_URL"] ?? "http://127.0.0.1:8090", data: process.env["AMENDS_DATA"] ?? null });
    return () => Promise.resolve();
  }
  const folder = await mkdtemp(join(tmpdir(), "amends-dashboard-"));
  const child = spawn(engineBinary(), ["dev", "--dir", join(folder, "data"), "--listen", "127.0.0.1:0"], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const stop = async () => {
    await ended(child);
    await sweep(folder);
  };
  try {
    project.provide("urls", { ...await told(child), data: join(folder, "data") });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

/** The addresses, as they are printed for people. */
function told(child: ChildProcess): Promise<Omit<Urls, "data">> {
  return new Promise((done, failed) => {
    let text = "";
    const timer = setTimeout(() => failed(new Error(`amends dev was not ready after ${READY_MS} ms:\n${text}`)), READY_MS);
    const take = (chunk: Buffer) => {
      text += chunk.toString();
      const [, api] = /^\s*dashboard\s+(\S+)\/$/m.exec(text) ?? [];
      const [, sandbox] = /^\s*Toss sandbox\s+(\S+)\/sandbox\/ledger$/m.exec(text) ?? [];
      if (!api || !sandbox) return;
      clearTimeout(timer);
      done({ ui: api, api, sandbox });
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    child.on("exit", (code) => { clearTimeout(timer); failed(new Error(`amends dev ended with ${code}:\n${text}`)); });
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.on("exit", () => done());
    child.kill("SIGINT");
  });
}

async function sweep(folder: string): Promise<void> {
  // Postgres' own folder may be a link, where the path was too long for its socket.
  const postgres = await realpath(join(folder, "data/postgres")).catch(() => null);
  if (postgres !== null) await rm(postgres, { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
}
