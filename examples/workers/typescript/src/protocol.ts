// The wire, as docs/protocol.md describes it: commands in, replies out. Knows no database.

import { NAME } from "./name.js";

export const OUTPUT_BYTES_MAX = 64 * 1024;

export type Direction = "execute" | "compensate";
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** One sending of one round of a step, in one direction. */
export interface Command {
  saga: string;
  step: string;
  item: number | null;
  direction: Direction;
  round: number;
  attempt: number;
  action: string;
  undoes: { round: number; succeeded: boolean } | null;
  firstSentAtMs: number;
  expiresAtMs: number;
  input: Json;
  replyTopic: string;
  replyPartition: number;
  traceparent: string | null;
}

export interface Fault {
  code: string;
  message: string;
}

/** What came of a command. `succeeded` and `rejected` are final. */
export type Answer =
  | { outcome: "succeeded"; output: Json }
  | { outcome: "rejected"; error: Fault }
  | { outcome: "undecidable"; error: Fault }
  | { outcome: "retryable"; error: Fault; uncharged: boolean };

/** The record is no command that can be understood: it goes to the dead letters. */
export class Poison extends Error {}

const fault = (code: string, message: string): Fault => ({ code, message: message.slice(0, 1000) });

export function succeeded(output: Json = null): Answer {
  // Before the commit: a success that cannot be said must not happen.
  return Buffer.byteLength(JSON.stringify(output)) > OUTPUT_BYTES_MAX
    ? retryable("output_too_large", `the output is larger than ${OUTPUT_BYTES_MAX} bytes`)
    : { outcome: "succeeded", output };
}

export const rejected = (code: string, message: string): Answer => ({ outcome: "rejected", error: fault(code, message) });

export const undecidable = (code: string, message: string): Answer => ({
  outcome: "undecidable",
  error: fault(code, message),
});

export const retryable = (code: string, message: string, uncharged = false): Answer => ({
  outcome: "retryable",
  error: fault(code, message),
  uncharged,
});

export const isFinal = (answer: Answer): boolean => answer.outcome === "succeeded" || answer.outcome === "rejected";

/** The execute round whose barrier row a command belongs to. */
export const executeRound = (command: Command): number => command.undoes?.round ?? command.round;

/** The key of a command's barrier row. */
export const rowKey = (command: Command): [string, string, number, number] => [
  command.saga,
  command.step,
  command.item ?? -1,
  executeRound(command),
];

/** What outside providers would get as their idempotency key. */
export function effectKey(command: Command): string {
  const item = command.item === null ? "" : `.${command.item}`;
  return `${command.saga}:${command.step}${item}:${command.direction === "execute" ? "x" : "c"}${command.round}`;
}

/** When the saga began: ids are UUIDv7, whose first 48 bits are the time. */
export function sagaStartedMs(saga: string): number | null {
  const digits = saga.replaceAll("-", "");
  return digits[12] === "7" ? Number.parseInt(digits.slice(0, 12), 16) : null;
}

export type Headers = Record<string, Buffer | string | (Buffer | string)[] | undefined>;

function header(headers: Headers, name: string): string | null {
  const value = headers[name];
  const first = Array.isArray(value) ? value[0] : value;
  return first === undefined ? null : first.toString();
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Reads a record of a command topic; fields that are not known are ignored. */
export function decode(headers: Headers, data: Buffer | null): Command {
  if (header(headers, "ce_type") !== "amends.command") throw new Poison("ce_type is not amends.command");
  const reply = /^(.+)\/([0-9]{1,9})$/.exec(header(headers, "ce_replyto") ?? "");
  if (!reply) throw new Poison("ce_replyto must be <topic>/<partition>");
  let body: Record<string, Json>;
  try {
    body = JSON.parse(data?.toString("utf8") ?? "") as Record<string, Json>;
  } catch (problem) {
    throw new Poison(`the value is not JSON: ${String(problem)}`);
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) throw new Poison("the value is not an object");
  const text = (name: string): string => {
    const value = body[name];
    if (typeof value !== "string" || value === "") throw new Poison(`\`${name}\` must be a text`);
    return value;
  };
  const whole = (value: Json | undefined, name: string, least: number): number => {
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) {
      throw new Poison(`\`${name}\` must be a whole number of ${least} or more`);
    }
    return value;
  };
  const direction = text("direction");
  if (direction !== "execute" && direction !== "compensate") throw new Poison(`direction is ${direction}`);
  const given = body["undoes"] ?? null;
  if ((direction === "compensate") !== (given !== null)) {
    throw new Poison("`undoes` must stand in a compensate and nowhere else");
  }
  let undoes: Command["undoes"] = null;
  if (given !== null) {
    if (typeof given !== "object" || Array.isArray(given) || typeof given["succeeded"] !== "boolean") {
      throw new Poison("`undoes` must be an object with `round` and `succeeded`");
    }
    undoes = { round: whole(given["round"], "undoes.round", 1), succeeded: given["succeeded"] };
  }
  const saga = text("saga").toLowerCase();
  if (!UUID.test(saga)) throw new Poison("`saga` must be a UUID");
  if (body["input"] === undefined) throw new Poison("there is no `input`");
  return {
    saga,
    step: text("step"),
    item: body["item"] === undefined || body["item"] === null ? null : whole(body["item"], "item", 0),
    direction,
    round: whole(body["round"], "round", 1),
    attempt: whole(body["attempt"], "attempt", 1),
    action: text("action"),
    undoes,
    firstSentAtMs: whole(body["first_sent_at_ms"], "first_sent_at_ms", 0),
    expiresAtMs: whole(body["expires_at_ms"], "expires_at_ms", 0),
    input: body["input"],
    replyTopic: reply[1]!,
    replyPartition: Number(reply[2]),
    traceparent: header(headers, "traceparent"),
  };
}

/** The reply to a command, as a record of its reply topic. */
export function encode(command: Command, answer: Answer) {
  const body: Record<string, Json> = { saga: command.saga, step: command.step };
  if (command.item !== null) body["item"] = command.item;
  body["direction"] = command.direction;
  body["round"] = command.round;
  body["attempt"] = command.attempt;
  body["outcome"] = answer.outcome;
  if (answer.outcome === "succeeded") {
    if (answer.output !== null) body["output"] = answer.output;
  } else {
    body["error"] = { ...answer.error };
  }
  if (answer.outcome === "retryable" && answer.uncharged) body["uncharged"] = true;
  const headers: Record<string, string> = {
    ce_specversion: "1.0",
    ce_type: "amends.reply",
    ce_source: `/workers/${NAME}`,
    ce_id: `${effectKey(command)}:${command.attempt}`,
    ce_time: new Date().toISOString(),
    "content-type": "application/json",
  };
  if (command.traceparent !== null) headers["traceparent"] = command.traceparent;
  const message = { key: command.saga, value: JSON.stringify(body), headers, partition: command.replyPartition };
  return { topic: command.replyTopic, messages: [message] };
}
