// What this worker does: `book`, and `cancel_booking` to undo it. This is the business: put yours here.
//
// A handler changes the database through the given connection and never commits: the barrier's row belongs to the same
// transaction. Whoever answers `rejected` or `retryable` must have changed nothing.

import type { ClientBase } from "pg";

import type { Handler } from "./barrier.js";
import { type Answer, type Command, type Json, effectKey, rejected, rowKey, succeeded } from "./protocol.js";

const SUBJECT_CHARS_MAX = 200;
const BOOK_INPUT = {
  type: "object",
  required: ["subject"],
  properties: { subject: { type: "string", minLength: 1, maxLength: SUBJECT_CHARS_MAX } },
};

async function book(db: ClientBase, command: Command): Promise<Answer> {
  const given = command.input !== null && typeof command.input === "object" ? (command.input as { [key: string]: Json }) : {};
  const { subject } = given;
  // Postgres has no text for NUL.
  if (typeof subject !== "string" || subject === "" || subject.length > SUBJECT_CHARS_MAX || subject.includes("\0")) {
    return rejected("bad_input", `book wants subject: 1 to ${SUBJECT_CHARS_MAX} characters`);
  }
  await db.query("insert into booking (saga, step, item, round, subject) values ($1, $2, $3, $4, $5)", [
    ...rowKey(command),
    subject,
  ]);
  return succeeded({ booked: subject });
}

async function cancelBooking(db: ClientBase, command: Command): Promise<Answer> {
  // What was booked, not what the input says: the books are the truth.
  const done = await db.query(
    "update booking set cancelled = true where saga = $1 and step = $2 and item = $3 and round = $4",
    rowKey(command),
  );
  if (done.rowCount !== 1) throw new Error(`${effectKey(command)}: the barrier says booked, the books do not`);
  return succeeded();
}

export const HANDLERS: Record<Command["direction"], Record<string, Handler>> = {
  execute: { book },
  compensate: { cancel_booking: cancelBooking },
};

export const ANNOUNCED = [{ action: "book", compensation: "cancel_booking", input_schema: BOOK_INPUT }];
