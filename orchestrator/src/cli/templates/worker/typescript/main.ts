// The process: runs the worker until SIGTERM or SIGINT.

import { readFile } from "node:fs/promises";

import pg from "pg";

import { Worker } from "./worker.js";

async function main(): Promise<number> {
  const [database, bootstrap] = [process.env["__ENV___DATABASE_URL"], process.env["AMENDS_KAFKA"]];
  if (!database || !bootstrap) {
    console.error(`set ${database ? "AMENDS_KAFKA" : "__ENV___DATABASE_URL"}; see README.md`);
    return 2;
  }
  const db = new pg.Client({ connectionString: database });
  await db.connect();
  try {
    await db.query("begin");
    // One at a time: `create table if not exists` of two starters can collide.
    await db.query("select pg_advisory_xact_lock(7302)");
    for (const file of ["inbox.sql", "schema.sql"]) {
      await db.query(await readFile(new URL(`../../${file}`, import.meta.url), "utf8"));
    }
    await db.query("commit");
  } finally {
    await db.end();
  }
  let end: (code: number) => void = () => {};
  const over = new Promise<number>((resolve) => (end = resolve));
  const worker = new Worker(bootstrap, database, process.env["AMENDS_TOPIC_PREFIX"] ?? "amends", (problem) => {
    // What a consumer cannot recover from: the process ends and is started anew.
    console.error(problem);
    end(1);
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => end(0));
  await worker.start();
  const exit = await over;
  await worker.stop();
  return exit;
}

process.exit(await main());
