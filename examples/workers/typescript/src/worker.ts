// The process: reads both command topics and answers.
//
// The order that everything rests on: the transaction commits, then the reply is acknowledged by the broker, then the
// offset is committed. Whatever dies in between, the command comes again and meets the barrier.

import { randomUUID } from "node:crypto";

import { type Consumer, type EachBatchPayload, Kafka, type KafkaMessage, Partitioners, type Producer, logLevel } from "kafkajs";
import pg from "pg";

import { ANNOUNCED, HANDLERS } from "./actions.js";
import { RETENTION_MS, answer as barrier, prune } from "./barrier.js";
import { NAME, VERSION } from "./name.js";
import {
  type Answer,
  type Command,
  type Direction,
  type Headers,
  Poison,
  decode,
  encode,
  isFinal,
  effectKey,
  retryable,
} from "./protocol.js";

const DIRECTIONS: Direction[] = ["execute", "compensate"];
const PARTITIONS = 4;
const ANNOUNCE_MS = 5_000;
const PRUNE_MS = 600_000;
const DAY_MS = 24 * 3_600_000;

/** A failure that is not the command's: nothing is answered, and the command comes again. */
class Passing extends Error {}

export class Worker {
  private readonly instance = randomUUID();
  private readonly kafka: Kafka;
  private readonly producer: Producer;
  private readonly consumers: Consumer[] = [];
  private readonly pool: pg.Pool;
  private timers: NodeJS.Timeout[] = [];

  constructor(
    bootstrap: string,
    database: string,
    private readonly prefix: string,
    private readonly failed: (problem: unknown) => void,
  ) {
    this.kafka = new Kafka({ clientId: NAME, brokers: bootstrap.split(","), logLevel: logLevel.WARN });
    // The partitioner of the Java client, said so that it is not warned of: replies name their partition anyway.
    const createPartitioner = Partitioners.DefaultPartitioner;
    this.producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner });
    // A direction each, so that a compensate never waits behind executes; and one to spare.
    this.pool = new pg.Pool({ connectionString: database, max: 3 });
    this.pool.on("error", (problem) => console.warn(`database: ${problem.message}`));
  }

  async start(): Promise<void> {
    await this.makeTopics();
    await this.producer.connect();
    for (const direction of DIRECTIONS) {
      const topic = this.topic(direction);
      const consumer = this.kafka.consumer({ groupId: topic, sessionTimeout: 10_000, heartbeatInterval: 3_000 });
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart) this.failed(payload.error);
      });
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      // Offsets are committed here, after the replies; never by themselves.
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: (batch) => this.work(consumer, direction, batch),
      });
      this.consumers.push(consumer);
    }
    await this.announce();
    const again = (work: () => Promise<void>) => () => void work().catch((problem) => console.warn(String(problem)));
    this.timers = [
      setInterval(again(() => this.announce()), ANNOUNCE_MS),
      setInterval(again(() => this.inTransaction(async (db) => void (await prune(db)))), PRUNE_MS),
    ];
  }

  /** Finishes what is in flight, says goodbye. */
  async stop(): Promise<void> {
    this.timers.forEach(clearInterval);
    await Promise.all(this.consumers.map((consumer) => consumer.disconnect()));
    await this.announce(true);
    await this.producer.disconnect();
    await this.pool.end();
  }

  private topic(direction: Direction): string {
    return `${this.prefix}.${NAME}.${direction}`;
  }

  private async makeTopics(): Promise<void> {
    const admin = this.kafka.admin();
    await admin.connect();
    const entries = (entries: Record<string, string>) =>
      Object.entries(entries).map(([name, value]) => ({ name, value }));
    const topic = (topic: string, numPartitions: number, settings: Record<string, string>) => ({
      topic,
      numPartitions,
      replicationFactor: -1,
      configEntries: entries(settings),
    });
    // Topics that are there already stay as they are.
    await admin.createTopics({
      topics: [
        ...DIRECTIONS.map((it) => topic(this.topic(it), PARTITIONS, { "retention.ms": String(7 * DAY_MS) })),
        topic(`${this.prefix}.workers`, 1, { "cleanup.policy": "compact" }),
        topic(`${this.prefix}.dead-letters`, 1, { "retention.ms": String(30 * DAY_MS) }),
      ],
      waitForLeaders: true,
    });
    await admin.disconnect();
  }

  private async work(consumer: Consumer, direction: Direction, given: EachBatchPayload): Promise<void> {
    const { batch, resolveOffset, heartbeat, isRunning, isStale } = given;
    const { topic, partition } = batch;
    for (const message of batch.messages) {
      // A stale batch belongs to somebody else by now, who will meet the barrier.
      if (!isRunning() || isStale()) return;
      let command: Command;
      try {
        command = decode((message.headers ?? {}) as Headers, message.value);
        if (command.direction !== direction) throw new Poison(`direction is ${command.direction}, the topic is ${topic}`);
      } catch (problem) {
        if (!(problem instanceof Poison)) throw problem;
        console.error(`dead letter at ${topic}/${partition}@${message.offset}: ${problem.message}`);
        await this.deadLetter(topic, partition, message, problem.message);
        await this.done(consumer, topic, partition, message, resolveOffset);
        continue;
      }
      const result = await this.answer(command, heartbeat);
      if (result.outcome === "undecidable") {
        await this.deadLetter(topic, partition, message, `${result.error.code}: ${result.error.message}`);
      }
      await this.producer.send({ ...encode(command, result), acks: -1 });
      await this.done(consumer, topic, partition, message, resolveOffset);
      await heartbeat();
    }
  }

  private async done(
    consumer: Consumer,
    topic: string,
    partition: number,
    message: KafkaMessage,
    resolveOffset: (offset: string) => void,
  ): Promise<void> {
    resolveOffset(message.offset);
    await consumer.commitOffsets([{ topic, partition, offset: (BigInt(message.offset) + 1n).toString() }]);
  }

  private async answer(command: Command, heartbeat: () => Promise<void>): Promise<Answer> {
    const handler = HANDLERS[command.direction][command.action];
    if (handler === undefined) {
      return retryable("unknown_action", `this worker has no ${command.direction} action \`${command.action}\``, true);
    }
    let pauseMs = 100;
    for (;;) {
      try {
        return await this.inTransaction((db) => barrier(db, command, handler));
      } catch (problem) {
        if (problem instanceof Passing) {
          // The barrier makes it safe to try again, even if the broken connection had committed.
          console.warn(`database: ${problem.message}; trying again`);
          await heartbeat();
          await new Promise((done) => setTimeout(done, pauseMs));
          pauseMs = Math.min(pauseMs * 2, 2_000);
          continue;
        }
        const message = problem instanceof Error ? problem.message : String(problem);
        console.error(`${effectKey(command)}: ${message}`);
        const code = problem instanceof pg.DatabaseError ? (problem.code ?? "") : "";
        // What the data cannot be burns the budget; a bug of this worker's does not, and alarms.
        return /^2[23]/.test(code) ? retryable("bad_data", message) : retryable("worker_trouble", message, true);
      }
    }
  }

  /** Runs `work` in a transaction, which commits only what is final. */
  private async inTransaction<T>(work: (db: pg.ClientBase) => Promise<T>): Promise<T> {
    let db: pg.PoolClient;
    try {
      db = await this.pool.connect();
    } catch (problem) {
      throw new Passing(String(problem));
    }
    let broken: Error | undefined;
    try {
      await db.query("begin");
      const result = await work(db);
      const final = !isAnswer(result) || isFinal(result);
      await db.query(final ? "commit" : "rollback");
      return result;
    } catch (problem) {
      const passing = isPassing(problem);
      broken = passing ? new Passing(String(problem)) : undefined;
      if (broken) throw broken;
      await db.query("rollback").catch((again: Error) => (broken = again));
      throw problem;
    } finally {
      // A connection in doubt is not given back.
      db.release(broken);
    }
  }

  private async deadLetter(topic: string, partition: number, message: KafkaMessage, reason: string): Promise<void> {
    const headers = {
      ...message.headers,
      amends_dead_reason: reason.slice(0, 1000),
      amends_dead_worker: NAME,
      amends_dead_topic: topic,
      amends_dead_partition: String(partition),
      amends_dead_offset: message.offset,
    };
    const messages = [{ key: message.key, value: message.value, headers }];
    await this.producer.send({ topic: `${this.prefix}.dead-letters`, messages, acks: -1 });
  }

  private async announce(leaving = false): Promise<void> {
    const record = {
      kind: "announcement",
      worker: NAME,
      instance: this.instance,
      version: VERSION,
      actions: ANNOUNCED,
      retention_ms: RETENTION_MS,
      at_ms: Date.now(),
      leaving,
    };
    const messages = [{ key: `announcement/${NAME}/${this.instance}`, value: JSON.stringify(record) }];
    await this.producer.send({ topic: `${this.prefix}.workers`, messages, acks: -1 });
  }
}

const isAnswer = (value: unknown): value is Answer => typeof value === "object" && value !== null && "outcome" in value;

/** Trouble with the connection, a lock or a conflict of transactions: nobody's fault, and it passes. */
function isPassing(problem: unknown): boolean {
  // An error without an SQLSTATE from the driver is the connection's; one of ours is an `Error` and nothing else.
  if (!(problem instanceof pg.DatabaseError)) {
    const code = (problem as { code?: unknown }).code;
    return typeof code === "string" || /connection/i.test(problem instanceof Error ? problem.message : "");
  }
  return /^(08|40|53|55|57)/.test(problem.code ?? "");
}
