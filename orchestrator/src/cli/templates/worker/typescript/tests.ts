// The worker's promises, each on a real Kafka, a real Postgres and a real process.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Bench, type Body, sagaId } from "./bench.js";

function on(what: string, play: (bench: Bench) => Promise<void>): void {
  test(what, async () => {
    const bench = await Bench.open();
    try {
      await play(bench);
    } finally {
      await bench.close();
    }
  });
}

const code = (reply: Body): unknown => (reply["error"] as Body | undefined)?.["code"];
const undoes = { round: 1, succeeded: true };

on("a command that comes twice takes effect once", async (bench) => {
  const saga = sagaId();
  const [first, second] = [await bench.ask(saga), await bench.ask(saga, "execute", 2)];
  assert.deepEqual([first["outcome"], second["outcome"]], ["succeeded", "succeeded"]);
  assert.deepEqual([first["output"], second["output"]], [{ booked: "room 7" }, { booked: "room 7" }]);
  assert.equal(await bench.standing(saga), 1);
});

on("a compensate undoes once", async (bench) => {
  const saga = sagaId();
  await bench.ask(saga);
  for (const attempt of [1, 2]) {
    assert.equal((await bench.ask(saga, "compensate", attempt, { undoes }))["outcome"], "succeeded");
  }
  assert.equal(await bench.standing(saga), 0);
});

on("a compensate that comes first is empty, and its execute does nothing", async (bench) => {
  const saga = sagaId();
  assert.equal((await bench.ask(saga, "compensate"))["outcome"], "succeeded");
  const reply = await bench.ask(saga);
  assert.deepEqual([reply["outcome"], code(reply)], ["rejected", "hanging"]);
  assert.equal(await bench.standing(saga), 0);
});

on("a crash loses nothing and repeats nothing", async (bench) => {
  const sagas = Array.from({ length: 20 }, sagaId);
  for (const saga of sagas) await bench.send(saga);
  await bench.reply(sagas[0]!);
  await bench.crash();
  await bench.start();
  for (const saga of sagas.slice(1)) assert.equal((await bench.reply(saga))["outcome"], "succeeded");
  for (const saga of sagas) assert.equal(await bench.standing(saga), 1);
});

on("input that makes no sense is rejected", async (bench) => {
  for (const input of [null, {}, { subject: "" }, { subject: 7 }, { subject: "a\0b" }]) {
    const reply = await bench.ask(sagaId(), "execute", 1, { input });
    assert.deepEqual([reply["outcome"], code(reply)], ["rejected", "bad_input"], JSON.stringify(input));
  }
});
