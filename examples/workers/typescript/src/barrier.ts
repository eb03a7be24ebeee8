// The inbox barrier: a command takes effect once, in whatever order and however often it comes.
//
// Works inside the caller's transaction and never commits. A caller whose answer is not final rolls back, so that
// nothing of it stays.

import type { ClientBase } from "pg";

import {
  type Answer,
  type Command,
  type Json,
  isFinal,
  rejected,
  retryable,
  rowKey,
  sagaStartedMs,
  succeeded,
  undecidable,
} from "./protocol.js";

export const RETENTION_MS = 14 * 24 * 3_600_000;
// Clocks differ and pruning may be early: nothing this close to the end of retention is decided.
const MARGIN_MS = 3_600_000;

export type Handler = (db: ClientBase, command: Command) => Promise<Answer>;

interface Row {
  execute: string | null;
  execute_reply: string | null;
  compensate_round: number;
  compensate: string | null;
  compensate_reply: string | null;
}

const ROW = "saga = $1 and step = $2 and item = $3 and round = $4";

/** The answer to a command: the stored one, one that the rules give, or the handler's. */
export async function answer(db: ClientBase, command: Command, handler: Handler): Promise<Answer> {
  const forgottenBefore = Date.now() - RETENTION_MS + MARGIN_MS;
  if (command.firstSentAtMs < forgottenBefore) {
    return undecidable("past_retention", "the round was first sent longer ago than the inbox remembers");
  }
  // The row's lock makes an execute and its compensate wait for each other, also when the row is new.
  const created = await db.query(
    "insert into inbox (saga, step, item, round, kept_from_ms) values ($1, $2, $3, $4, $5) on conflict do nothing",
    [...rowKey(command), command.firstSentAtMs],
  );
  const found = await db.query<Row>(`select * from inbox where ${ROW} for update`, rowKey(command));
  const row = found.rows[0]!;
  return command.undoes === null
    ? await execute(db, command, handler, row)
    : await compensate(db, command, handler, row, created.rowCount === 1, forgottenBefore, command.undoes.succeeded);
}

async function execute(db: ClientBase, command: Command, handler: Handler, row: Row): Promise<Answer> {
  if (row.execute !== null) return kept(row.execute, row.execute_reply);
  let result: Answer;
  if (row.compensate_round > 0) {
    result = rejected("hanging", "its compensate came first; the execute does nothing any more");
  } else if (command.expiresAtMs <= Date.now()) {
    result = rejected("expired", "the command has expired before it was executed");
  } else {
    result = await handler(db, command);
  }
  if (isFinal(result)) {
    await db.query(
      `update inbox set execute = $5, execute_reply = $6, kept_from_ms = greatest(kept_from_ms, $7) where ${ROW}`,
      [...rowKey(command), result.outcome, stored(result), command.firstSentAtMs],
    );
  }
  return result;
}

async function compensate(
  db: ClientBase,
  command: Command,
  handler: Handler,
  row: Row,
  isNew: boolean,
  forgottenBefore: number,
  knownSuccess: boolean,
): Promise<Answer> {
  if (isNew && knownSuccess) {
    return undecidable("record_missing", "the execute is known to have succeeded, and there is no record of it");
  }
  if (isNew && (sagaStartedMs(command.saga) ?? forgottenBefore) < forgottenBefore) {
    return undecidable("past_retention", "the saga is older than the inbox remembers: no record proves nothing");
  }
  if (command.round < row.compensate_round) return retryable("superseded", "a later compensate round is on record");
  if (command.round === row.compensate_round) return kept(row.compensate, row.compensate_reply);
  let result: Answer;
  if (row.compensate === "succeeded") {
    // A new round over a compensate that succeeded: undone once is undone.
    result = kept(row.compensate, row.compensate_reply);
  } else if (row.execute !== "succeeded") {
    if (knownSuccess) {
      return undecidable("record_contradicts", "the execute is known to have succeeded; the inbox says it did not");
    }
    // Nothing took effect, so there is nothing to undo. It is recorded: the execute may still come.
    result = succeeded();
  } else {
    // However late: only executes expire.
    result = await handler(db, command);
  }
  if (isFinal(result)) {
    await db.query(
      `update inbox set compensate = $5, compensate_reply = $6, compensate_round = $7,
         kept_from_ms = greatest(kept_from_ms, $8) where ${ROW}`,
      [...rowKey(command), result.outcome, stored(result), command.round, command.firstSentAtMs],
    );
  }
  return result;
}

/** What the barrier keeps beside the outcome. */
function stored(answer: Answer): string {
  return JSON.stringify(answer.outcome === "succeeded" ? answer.output : answer.error);
}

function kept(outcome: string | null, text: string | null): Answer {
  const value = JSON.parse(text ?? "null") as Json;
  return outcome === "rejected"
    ? { outcome: "rejected", error: value as unknown as { code: string; message: string } }
    : { outcome: "succeeded", output: value };
}

/** Forgets rows past retention, some at a time. */
export async function prune(db: ClientBase): Promise<void> {
  await db.query(
    "delete from inbox where ctid = any (array (select ctid from inbox where kept_from_ms < $1 limit 5000))",
    [Date.now() - RETENTION_MS],
  );
}
