// The live stack: a database, topics and worker processes of its own for each test. Plays the orchestrator.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { type Admin, type Consumer, Kafka, type KafkaMessage, type Producer, logLevel } from "kafkajs";
import pg from "pg";

const MAIN = fileURLToPath(new URL("../src/main.js", import.meta.url));
const DEADLINE_MS = 60_000;

export type Body = Record<string, unknown>;
export type Reply = Body & { headers: Record<string, string>; partition: number; key: string };

function address(variable: string): string {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set: run \`make test\`, or \`eval "$(deploy/stack env)"\``);
  return value;
}

/** Polls until `holds` gives something, and returns that. */
export async function until<T>(what: string, holds: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const result = await holds();
    if (result !== undefined && result !== false) return result;
    if (Date.now() >= end) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(20);
  }
}

/** A UUIDv7. */
export function sagaId(atMs = Date.now()): string {
  const digits = atMs.toString(16).padStart(12, "0");
  const random = randomBytes(10).toString("hex");
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7${random.slice(0, 3)}-8${random.slice(3, 6)}-${random.slice(6, 18)}`;
}

export class Bench {
  readonly prefix = `ts${randomUUID().replaceAll("-", "").slice(0, 12)}`;
  readonly inbox = `${this.prefix}.inbox`;
  readonly letters: KafkaMessage[] = [];
  readonly said: Body[] = [];
  private readonly replies: Reply[] = [];
  private readonly workers: ChildProcess[] = [];
  private readonly consumers: Consumer[] = [];

  private constructor(
    private readonly bootstrap: string,
    private readonly server: string,
    private readonly database: string,
    private readonly kafka: Kafka,
    private readonly admin: Admin,
    private readonly producer: Producer,
    readonly db: pg.Pool,
  ) {}

  static async open(): Promise<Bench> {
    const [server, bootstrap] = [address("AMENDS_TEST_DATABASE_URL"), address("AMENDS_TEST_KAFKA")];
    const name = `coupon_${randomUUID().replaceAll("-", "")}`;
    const client = new pg.Client({ connectionString: server });
    await client.connect();
    await client.query(`create database ${name} template template0`);
    await client.end();
    const database = `${server.slice(0, server.lastIndexOf("/"))}/${name}`;
    const kafka = new Kafka({ clientId: "bench", brokers: bootstrap.split(","), logLevel: logLevel.NOTHING });
    const [admin, producer] = [kafka.admin(), kafka.producer()];
    await Promise.all([admin.connect(), producer.connect()]);
    const db = new pg.Pool({ connectionString: database, max: 2 });
    const bench = new Bench(bootstrap, server, database, kafka, admin, producer, db);
    await bench.createTopic(bench.inbox, 2);
    await bench.read(bench.inbox, (message, partition) => {
      const headers = Object.fromEntries(Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]));
      const body = JSON.parse(String(message.value)) as Body;
      bench.replies.push({ ...body, headers, partition, key: String(message.key) });
    });
    return bench;
  }

  async createTopic(topic: string, numPartitions: number): Promise<void> {
    await this.admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: -1 }], waitForLeaders: true });
  }

  /** Reads a topic from its beginning. */
  async read(topic: string, take: (message: KafkaMessage, partition: number) => void): Promise<void> {
    const consumer = this.kafka.consumer({ groupId: randomUUID() });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message, partition }) => take(message, partition) });
    this.consumers.push(consumer);
  }

  /** Starts a worker, and waits until it says that it is there. */
  async start(): Promise<ChildProcess> {
    const env = {
      ...process.env,
      AMENDS_KAFKA: this.bootstrap,
      AMENDS_TOPIC_PREFIX: this.prefix,
      COUPON_DATABASE_URL: this.database,
    };
    const worker = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "inherit", "inherit"] });
    this.workers.push(worker);
    const first = this.workers.length === 1;
    await until("the worker made its topics", async () => {
      if (worker.exitCode !== null) throw new Error("the worker ended early");
      return (await this.admin.listTopics()).includes(`${this.prefix}.workers`);
    });
    if (first) {
      await this.read(`${this.prefix}.workers`, (message) => this.said.push(JSON.parse(String(message.value)) as Body));
      await this.read(`${this.prefix}.dead-letters`, (message) => this.letters.push(message));
    }
    const instances = () => new Set(this.said.map((it) => it["instance"])).size;
    await until("the worker's announcement", () => instances() >= this.workers.length);
    return worker;
  }

  async end(worker: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => worker.once("exit", (code) => resolve(code)));
    worker.kill(signal);
    return await ended;
  }

  add(code: string, discount: number, minimum = 0): void {
    const env = { ...process.env, COUPON_DATABASE_URL: this.database };
    const done = spawnSync(process.execPath, [MAIN, "add", code, String(discount), String(minimum)], { env });
    if (done.status !== 0) throw new Error(String(done.stderr));
  }

  /** The order that a coupon is used for. */
  async usedFor(code: string): Promise<string | null> {
    const found = await this.db.query<{ order_id: string | null }>("select order_id from coupon where code = $1", [code]);
    return found.rows[0]!.order_id;
  }

  command(saga: string, direction: "execute" | "compensate" = "execute", changes: Body = {}): Body {
    const now = Date.now();
    return {
      saga,
      definition: "test",
      step: "redeem_coupon",
      direction,
      round: 1,
      attempt: 1,
      action: direction === "execute" ? "redeem" : "give_back",
      first_sent_at_ms: now,
      sent_at_ms: now,
      expires_at_ms: now + 3_600_000,
      input: { order_id: "o-1", customer_id: "kim", coupon: "SPRING", amount: 10_000 },
      ...(direction === "compensate" ? { undoes: { round: 1, succeeded: false } } : {}),
      ...changes,
    };
  }

  async send(body: Body, more: Record<string, string> = {}): Promise<void> {
    const letter = body["direction"] === "execute" ? "x" : "c";
    const headers = {
      ce_specversion: "1.0",
      ce_type: "amends.command",
      ce_source: "/amends",
      ce_id: `${String(body["saga"])}:${String(body["step"])}:${letter}${String(body["round"])}:${String(body["attempt"])}`,
      ce_time: new Date().toISOString(),
      "content-type": "application/json",
      ce_replyto: `${this.inbox}/1`,
      ...more,
    };
    await this.raw(String(body["direction"]), JSON.stringify(body), headers);
  }

  async raw(direction: string, value: string, headers: Record<string, string>): Promise<void> {
    const messages = [{ key: "k", value, headers }];
    await this.producer.send({ topic: `${this.prefix}.coupon.${direction}`, messages });
  }

  /** Waits for the reply to one attempt, and takes it. */
  async reply(saga: string, direction = "execute", attempt = 1, round = 1): Promise<Reply> {
    return await until(`a reply to ${direction} ${round}/${attempt} of ${saga}`, () => {
      const at = this.replies.findIndex(
        (it) => it["saga"] === saga && it["direction"] === direction && it["attempt"] === attempt && it["round"] === round,
      );
      return at >= 0 && this.replies.splice(at, 1)[0];
    });
  }

  async close(): Promise<void> {
    for (const worker of this.workers) if (worker.exitCode === null && worker.signalCode === null) await this.end(worker, "SIGKILL");
    await Promise.all(this.consumers.map((it) => it.disconnect()));
    const topics = (await this.admin.listTopics()).filter((it) => it.startsWith(this.prefix));
    await this.admin.deleteTopics({ topics });
    await Promise.all([this.producer.disconnect(), this.admin.disconnect(), this.db.end()]);
    const client = new pg.Client({ connectionString: this.server });
    await client.connect();
    await client.query(`drop database ${this.database.slice(this.database.lastIndexOf("/") + 1)} with (force)`);
    await client.end();
  }
}
