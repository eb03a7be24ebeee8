// The live stack: a database, topics and a worker process of its own for each test. Plays the orchestrator.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { type Admin, type Consumer, Kafka, Partitioners, type Producer, logLevel } from "kafkajs";
import pg from "pg";

import { NAME } from "../src/name.js";

const MAIN = fileURLToPath(new URL("../src/main.js", import.meta.url));
const DEADLINE_MS = 60_000;

export type Body = Record<string, unknown>;
type Direction = "execute" | "compensate";

function address(variable: string): string {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set; see README.md`);
  return value;
}

/** Polls until `holds` gives something, and returns that. */
async function until<T>(what: string, holds: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const result = await holds();
    if (result !== undefined && result !== false) return result;
    if (Date.now() >= end) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(20);
  }
}

/** A UUIDv7. */
export function sagaId(): string {
  const digits = Date.now().toString(16).padStart(12, "0");
  const random = randomBytes(10).toString("hex");
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6, 18)}`;
}

export class Bench {
  private readonly prefix = `test${randomUUID().replaceAll("-", "").slice(0, 12)}`;
  private readonly inbox = `${this.prefix}.inbox`;
  private readonly replies: Body[] = [];
  private worker: ChildProcess | null = null;

  private constructor(
    private readonly bootstrap: string,
    private readonly server: string,
    private readonly database: string,
    private readonly admin: Admin,
    private readonly producer: Producer,
    private readonly consumer: Consumer,
    private readonly db: pg.Pool,
  ) {}

  static async open(): Promise<Bench> {
    const [server, bootstrap] = [address("AMENDS_TEST_DATABASE_URL"), address("AMENDS_TEST_KAFKA")];
    const name = `__IDENT___${randomUUID().replaceAll("-", "")}`;
    await administer(server, `create database ${name} template template0`);
    const database = `${server.slice(0, server.lastIndexOf("/"))}/${name}`;
    const kafka = new Kafka({ clientId: "bench", brokers: bootstrap.split(","), logLevel: logLevel.NOTHING });
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
    const [admin, consumer] = [kafka.admin(), kafka.consumer({ groupId: randomUUID() })];
    await Promise.all([admin.connect(), producer.connect(), consumer.connect()]);
    const db = new pg.Pool({ connectionString: database, max: 2 });
    const bench = new Bench(bootstrap, server, database, admin, producer, consumer, db);
    await admin.createTopics({ topics: [{ topic: bench.inbox, numPartitions: 1, replicationFactor: -1 }], waitForLeaders: true });
    await consumer.subscribe({ topics: [bench.inbox], fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ message }) => void bench.replies.push(JSON.parse(String(message.value)) as Body),
    });
    await bench.start();
    return bench;
  }

  /** Starts the worker, and waits until its topics are there. */
  async start(): Promise<void> {
    const env = {
      ...process.env,
      AMENDS_KAFKA: this.bootstrap,
      AMENDS_TOPIC_PREFIX: this.prefix,
      __ENV___DATABASE_URL: this.database,
    };
    const worker = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "inherit", "inherit"] });
    this.worker = worker;
    worker.once("exit", (code) => {
      // What a consumer cannot recover from ends the process, which is then started anew.
      if (code === 1 && this.worker === worker) void this.start().catch(() => {});
    });
    await until("the worker made its topics", async () => {
      if (worker.exitCode !== null) throw new Error("the worker ended early");
      const there = await this.admin.listTopics();
      return ["execute", "compensate"].every((it) => there.includes(`${this.prefix}.${NAME}.${it}`));
    });
  }

  /** Kills the worker, as a crash would. */
  async crash(): Promise<void> {
    const worker = this.worker;
    this.worker = null;
    if (worker === null || worker.exitCode !== null || worker.signalCode !== null) return;
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    worker.kill("SIGKILL");
    await ended;
  }

  async send(saga: string, direction: Direction = "execute", attempt = 1, changes: Body = {}): Promise<void> {
    const now = Date.now();
    const body = {
      saga,
      definition: "test",
      step: "book",
      direction,
      round: 1,
      attempt,
      action: direction === "execute" ? "book" : "cancel_booking",
      first_sent_at_ms: now,
      sent_at_ms: now,
      expires_at_ms: now + 3_600_000,
      input: { subject: "room 7" },
      ...(direction === "compensate" ? { undoes: { round: 1, succeeded: false } } : {}),
      ...changes,
    };
    const headers = { ce_type: "amends.command", ce_replyto: `${this.inbox}/0` };
    const messages = [{ key: saga, value: JSON.stringify(body), headers }];
    await this.producer.send({ topic: `${this.prefix}.${NAME}.${direction}`, messages });
  }

  /** Waits for the reply to one attempt, and takes it. */
  async reply(saga: string, direction: Direction = "execute", attempt = 1): Promise<Body> {
    return await until(`a reply to ${direction} attempt ${attempt} of ${saga}`, () => {
      const mine = (it: Body) => it["saga"] === saga && it["direction"] === direction && it["attempt"] === attempt;
      const at = this.replies.findIndex(mine);
      return at >= 0 && this.replies.splice(at, 1)[0];
    });
  }

  async ask(saga: string, direction: Direction = "execute", attempt = 1, changes: Body = {}): Promise<Body> {
    await this.send(saga, direction, attempt, changes);
    return await this.reply(saga, direction, attempt);
  }

  /** How many bookings of a saga stand. */
  async standing(saga: string): Promise<number> {
    const found = await this.db.query("select from booking where saga = $1 and not cancelled", [saga]);
    return found.rowCount ?? 0;
  }

  async close(): Promise<void> {
    await this.crash();
    await this.consumer.disconnect();
    const topics = (await this.admin.listTopics()).filter((it) => it.startsWith(this.prefix));
    await this.admin.deleteTopics({ topics });
    await Promise.all([this.producer.disconnect(), this.admin.disconnect(), this.db.end()]);
    await administer(this.server, `drop database ${this.database.slice(this.database.lastIndexOf("/") + 1)} with (force)`);
  }
}

async function administer(server: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  await client.query(sql);
  await client.end();
}
