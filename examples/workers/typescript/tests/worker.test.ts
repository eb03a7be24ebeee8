// The worker's promises, each on a real Kafka, a real Postgres and a real process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bench, type Body, type Reply, sagaId, until } from "./bench.js";

const DAY_MS = 24 * 3_600_000;

function on(what: string, play: (bench: Bench) => Promise<void>): void {
  test(what, async () => {
    const bench = await Bench.open();
    try {
      bench.add("SPRING", 3_000, 5_000);
      await play(bench);
    } finally {
      await bench.close();
    }
  });
}

const code = (reply: Reply): unknown => (reply["error"] as Body | undefined)?.["code"];

on("a command is answered where and as it asks, once", async (bench) => {
  await bench.start();
  const saga = sagaId();
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  await bench.send(bench.command(saga), { traceparent });
  const { headers, ...reply } = await bench.reply(saga);
  assert.deepEqual(reply, {
    saga,
    step: "redeem_coupon",
    direction: "execute",
    round: 1,
    attempt: 1,
    outcome: "succeeded",
    output: { discount: 3_000 },
    key: saga,
    partition: 1,
  });
  assert.equal(headers["ce_type"], "amends.reply");
  assert.equal(headers["ce_id"], `${saga}:redeem_coupon:x1:1`);
  assert.equal(headers["ce_source"], "/workers/coupon");
  assert.equal(headers["traceparent"], traceparent);
  assert.equal(await bench.usedFor("SPRING"), "o-1");
  await bench.send(bench.command(saga, "execute", { attempt: 2 }));
  assert.deepEqual((await bench.reply(saga, "execute", 2))["output"], { discount: 3_000 });
});

on("a coupon is redeemed by one order, and a rejection is stored", async (bench) => {
  await bench.start();
  const [first, second] = [sagaId(), sagaId()];
  await bench.send(bench.command(first));
  await bench.reply(first);
  await bench.send(bench.command(second));
  assert.equal(code(await bench.reply(second)), "coupon_used");
  await bench.send(bench.command(first, "compensate", { undoes: { round: 1, succeeded: true } }));
  await bench.reply(first, "compensate");
  await bench.send(bench.command(second, "execute", { attempt: 2 }));
  assert.equal(code(await bench.reply(second, "execute", 2)), "coupon_used");
  // A new round is a new try.
  await bench.send(bench.command(second, "execute", { round: 2 }));
  assert.equal((await bench.reply(second, "execute", 1, 2))["outcome"], "succeeded");
});

on("input that makes no sense is rejected", async (bench) => {
  await bench.start();
  const good = { order_id: "o-1", coupon: "SPRING", amount: 10_000 };
  for (const [input, expected] of [
    [null, "bad_input"],
    [[], "bad_input"],
    [{ ...good, amount: "10000" }, "bad_input"],
    [{ ...good, order_id: "a\0b" }, "bad_input"],
    [{ ...good, coupon: "WINTER" }, "no_such_coupon"],
    [{ ...good, amount: 4_999 }, "order_too_small"],
  ] as const) {
    const saga = sagaId();
    await bench.send(bench.command(saga, "execute", { input }));
    assert.equal(code(await bench.reply(saga)), expected, JSON.stringify(input));
  }
  assert.equal(await bench.usedFor("SPRING"), null);
});

on("each coupon of a series is used once, and given back as one", async (bench) => {
  await bench.db.query("insert into coupon (code, discount) values ('FALL-*', 500)");
  await bench.start();
  const redeem = async (coupon: string) => {
    const saga = sagaId();
    await bench.send(bench.command(saga, "execute", { input: { order_id: "order-1", coupon, amount: 9_000 } }));
    const reply = await bench.reply(saga);
    return { saga, told: reply["outcome"] === "succeeded" ? "ok" : code(reply) };
  };
  const first = await redeem("FALL-1");
  assert.deepEqual(
    [first.told, (await redeem("FALL-1")).told, (await redeem("FALL-2")).told, (await redeem("FALL-")).told, (await redeem("WINTER-1")).told],
    ["ok", "coupon_used", "ok", "no_such_coupon", "no_such_coupon"],
  );
  await bench.send(bench.command(first.saga, "compensate", { undoes: { round: 1, succeeded: true } }));
  assert.equal((await bench.reply(first.saga, "compensate"))["outcome"], "succeeded");
  assert.equal((await redeem("FALL-1")).told, "ok");
});

on("a compensate gives the coupon back once, however late", async (bench) => {
  await bench.start();
  const saga = sagaId();
  await bench.send(bench.command(saga));
  await bench.reply(saga);
  const undoes = { round: 1, succeeded: true };
  for (const attempt of [1, 2]) {
    await bench.send(bench.command(saga, "compensate", { attempt, undoes, expires_at_ms: Date.now() - 1 }));
    assert.equal((await bench.reply(saga, "compensate", attempt))["outcome"], "succeeded");
  }
  await bench.send(bench.command(saga, "compensate", { round: 2, undoes }));
  assert.equal((await bench.reply(saga, "compensate", 1, 2))["outcome"], "succeeded");
  assert.equal(await bench.usedFor("SPRING"), null);
});

on("a compensate that comes first is empty, and its execute is hanging", async (bench) => {
  await bench.start();
  const saga = sagaId();
  await bench.send(bench.command(saga, "compensate"));
  assert.equal((await bench.reply(saga, "compensate"))["outcome"], "succeeded");
  await bench.send(bench.command(saga));
  assert.equal(code(await bench.reply(saga)), "hanging");
  assert.equal(await bench.usedFor("SPRING"), null);
});

on("execute and compensate at once give both in order or neither", async (bench) => {
  const codes = Array.from({ length: 40 }, (_, at) => `MANY-${at}`);
  await bench.start();
  for (const it of codes) await bench.db.query("insert into coupon (code, discount) values ($1, 1)", [it]);
  const sagas = codes.map((coupon) => ({ saga: sagaId(), coupon }));
  await Promise.all(
    sagas.flatMap(({ saga, coupon }) =>
      (["execute", "compensate"] as const).map((direction) =>
        bench.send(bench.command(saga, direction, { input: { order_id: "o", coupon, amount: 10 } })),
      ),
    ),
  );
  for (const { saga } of sagas) {
    const [execute, compensate] = [await bench.reply(saga), await bench.reply(saga, "compensate")];
    assert.equal(compensate["outcome"], "succeeded");
    assert.ok(execute["outcome"] === "succeeded" || code(execute) === "hanging");
  }
  const used = await bench.db.query("select from coupon where saga is not null");
  assert.equal(used.rowCount, 0);
});

on("kill -9 between commit and reply loses nothing and repeats nothing", async (bench) => {
  const worker = await bench.start();
  const saga = sagaId();
  // The reply's topic does not exist, so the worker cannot be rid of the reply that it has committed.
  const late = `${bench.prefix}.late`;
  await bench.send(bench.command(saga), { ce_replyto: `${late}/0` });
  await until("the worker committed", async () => (await bench.usedFor("SPRING")) === "o-1");
  await bench.end(worker, "SIGKILL");
  await bench.createTopic(late, 1);
  const replies: Body[] = [];
  await bench.read(late, (message) => replies.push(JSON.parse(String(message.value)) as Body));
  await bench.start();
  const reply = await until("the stored reply", () => replies[0]);
  assert.deepEqual(reply["output"], { discount: 3_000 });
  assert.equal((await bench.db.query("select from inbox")).rowCount, 1);
});

on("what has expired or cannot be known gets no effect", async (bench) => {
  await bench.start();
  const [expired, lost, old, ancient] = [sagaId(), sagaId(), sagaId(), sagaId(Date.now() - 40 * DAY_MS)];
  await bench.send(bench.command(expired, "execute", { expires_at_ms: Date.now() - 1 }));
  assert.equal(code(await bench.reply(expired)), "expired");
  await bench.send(bench.command(lost, "compensate", { undoes: { round: 1, succeeded: true } }));
  await bench.send(bench.command(old, "execute", { first_sent_at_ms: Date.now() - 15 * DAY_MS }));
  await bench.send(bench.command(ancient, "compensate"));
  for (const [saga, direction, expected] of [
    [lost, "compensate", "record_missing"],
    [old, "execute", "past_retention"],
    [ancient, "compensate", "past_retention"],
  ] as const) {
    const reply = await bench.reply(saga, direction);
    assert.deepEqual([reply["outcome"], code(reply)], ["undecidable", expected]);
  }
  await until("each is a dead letter", () => bench.letters.length === 3);
  assert.equal((await bench.db.query("select from inbox")).rowCount, 1, "only the expired one took its row");
});

on("poison is a dead letter and stops nothing; an unknown action is the worker's own trouble", async (bench) => {
  await bench.start();
  const good = { ce_type: "amends.command", ce_replyto: `${bench.inbox}/0` };
  await bench.raw("execute", "not json", good);
  await bench.raw("execute", "[1]", good);
  await bench.raw("execute", JSON.stringify(bench.command(sagaId())), { ce_type: "amends.command" });
  await bench.raw("execute", JSON.stringify(bench.command(sagaId(), "compensate")), good);
  const saga = sagaId();
  await bench.send(bench.command(saga, "execute", { action: "borrow" }));
  const reply = await bench.reply(saga);
  assert.deepEqual([reply["outcome"], reply["uncharged"], code(reply)], ["retryable", true, "unknown_action"]);
  await until("four dead letters", () => bench.letters.length === 4);
  for (const letter of bench.letters) {
    assert.equal(String(letter.headers?.["amends_dead_worker"]), "coupon");
    assert.ok(String(letter.headers?.["amends_dead_reason"]).length > 0);
  }
});

on("it announces itself, and says goodbye", async (bench) => {
  const worker = await bench.start();
  const said = bench.said[0]!;
  assert.equal((said["actions"] as Body[])[0]!["compensation"], "give_back");
  assert.equal(await bench.end(worker, "SIGTERM"), 0);
  await until("the goodbye", () => bench.said.some((it) => it["leaving"] === true));
});

on("two instances share the work, and one takes over", async (bench) => {
  const first = await bench.start();
  await bench.start();
  const sagas = Array.from({ length: 40 }, (_, at) => ({ saga: sagaId(), coupon: `MANY-${at}` }));
  for (const { coupon } of sagas) await bench.db.query("insert into coupon (code, discount) values ($1, 1)", [coupon]);
  const send = ({ saga, coupon }: { saga: string; coupon: string }) =>
    bench.send(bench.command(saga, "execute", { input: { order_id: "o", coupon, amount: 10 } }));
  for (const it of sagas.slice(0, 20)) await send(it);
  await bench.end(first, "SIGKILL");
  for (const it of sagas.slice(20)) await send(it);
  for (const { saga } of sagas) assert.equal((await bench.reply(saga))["outcome"], "succeeded");
});
