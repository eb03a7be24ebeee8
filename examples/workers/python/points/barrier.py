"""The inbox barrier: a command takes effect once, in whatever order and however often it comes.

Works inside the caller's transaction and never commits. A caller whose answer is not final rolls
back, so that nothing of it stays.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg.rows import dict_row

from .protocol import EXECUTE, Answer, Command, now_ms, rejected, retryable, succeeded, undecidable

RETENTION_MS = 14 * 24 * 3_600_000
# Clocks differ and pruning may be early: nothing this close to the end of retention is decided.
MARGIN_MS = 3_600_000

Handler = Callable[[psycopg.Connection, Command], Answer]


def answer(connection: psycopg.Connection, command: Command, handler: Handler) -> Answer:
    """The answer to a command: the stored one, one that the rules give, or the handler's."""
    forgotten_before = now_ms() - RETENTION_MS + MARGIN_MS
    if command.first_sent_at_ms < forgotten_before:
        return undecidable("past_retention", "the round was first sent longer ago than the inbox remembers")
    # The row's lock makes an execute and its compensate wait for each other, also when the row is new.
    created = connection.execute(
        "insert into inbox (saga, step, item, round, kept_from_ms) values (%s, %s, %s, %s, %s) on conflict do nothing",
        (*command.row_key, command.first_sent_at_ms),
    ).rowcount
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "select * from inbox where saga = %s and step = %s and item = %s and round = %s for update", command.row_key
        )
        row = cursor.fetchone()
    assert row is not None, "it was just inserted or is locked"
    if command.direction == EXECUTE:
        return _execute(connection, command, handler, row)
    return _compensate(connection, command, handler, row, bool(created), forgotten_before)


def _execute(connection, command: Command, handler: Handler, row: dict) -> Answer:
    if row["execute"] is not None:
        return Answer.kept(row["execute"], row["execute_reply"])
    if row["compensate_round"] > 0:
        result = rejected("hanging", "its compensate came first; the execute does nothing any more")
    elif command.expires_at_ms <= now_ms():
        result = rejected("expired", "the command has expired before it was executed")
    else:
        result = handler(connection, command)
    if result.final:
        connection.execute(
            "update inbox set execute = %s, execute_reply = %s, kept_from_ms = greatest(kept_from_ms, %s)"
            " where saga = %s and step = %s and item = %s and round = %s",
            (result.outcome, result.stored, command.first_sent_at_ms, *command.row_key),
        )
    return result


def _compensate(connection, command: Command, handler: Handler, row: dict, is_new: bool, forgotten_before: int) -> Answer:
    if is_new and command.undoes_succeeded:
        return undecidable("record_missing", "the execute is known to have succeeded, and there is no record of it")
    if is_new and (command.saga_started_ms or forgotten_before) < forgotten_before:
        return undecidable("past_retention", "the saga is older than the inbox remembers: no record proves nothing")
    if command.round < row["compensate_round"]:
        return retryable("superseded", "a later compensate round is on record")
    if command.round == row["compensate_round"]:
        return Answer.kept(row["compensate"], row["compensate_reply"])
    if row["compensate"] == "succeeded":
        # A new round over a compensate that succeeded: undone once is undone.
        result = Answer.kept(row["compensate"], row["compensate_reply"])
    elif row["execute"] != "succeeded":
        if command.undoes_succeeded:
            return undecidable("record_contradicts", "the execute is known to have succeeded; the inbox says it did not")
        # Nothing took effect, so there is nothing to undo. It is recorded: the execute may still come.
        result = succeeded()
    else:
        # However late: only executes expire.
        result = handler(connection, command)
    if result.final:
        connection.execute(
            "update inbox set compensate = %s, compensate_reply = %s, compensate_round = %s,"
            " kept_from_ms = greatest(kept_from_ms, %s) where saga = %s and step = %s and item = %s and round = %s",
            (result.outcome, result.stored, command.round, command.first_sent_at_ms, *command.row_key),
        )
    return result


def prune(connection: psycopg.Connection) -> int:
    """Forgets rows past retention, some at a time; returns how many."""
    return connection.execute(
        "delete from inbox where ctid = any (array (select ctid from inbox where kept_from_ms < %s limit 5000))",
        (now_ms() - RETENTION_MS,),
    ).rowcount
