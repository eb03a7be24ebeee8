// `npm start`: runs the worker. `npm start -- add CODE DISCOUNT [MINIMUM]`: makes a coupon,
// or changes what it is worth; with a CODE such as `SPRING-*` a series of them.

import { readFile } from "node:fs/promises";

import pg from "pg";

import { Worker } from "./worker.js";

async function main([command, code, discount, minimum]: string[]): Promise<number> {
  const database = process.env["COUPON_DATABASE_URL"];
  const bootstrap = process.env["AMENDS_KAFKA"];
  if (!database || (!bootstrap && !command)) {
    console.error(`set ${database ? "AMENDS_KAFKA" : "COUPON_DATABASE_URL"}; see README.md`);
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
    if (command === "add" && code && discount) {
      await db.query(`insert into coupon (code, discount, minimum) values ($1, $2, $3)
         on conflict (code) do update set discount = excluded.discount, minimum = excluded.minimum`, [code, discount, minimum ?? 0]);
      return 0;
    }
  } finally {
    await db.end();
  }
  if (command) {
    console.error("usage: npm start, or npm start -- add CODE DISCOUNT [MINIMUM]");
    return 2;
  }
  let end: (code: number) => void = () => {};
  const over = new Promise<number>((resolve) => (end = resolve));
  const worker = new Worker(bootstrap!, database, process.env["AMENDS_TOPIC_PREFIX"] ?? "amends", (problem) => {
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

process.exit(await main(process.argv.slice(2)));
