"""What this worker does: `book`, and `cancel_booking` to undo it. This is the business: put yours here.

A handler changes the database through the given connection and never commits: the barrier's row
belongs to the same transaction. Whoever answers `rejected` or `retryable` must have changed nothing.
"""

from __future__ import annotations

import psycopg

from .protocol import COMPENSATE, EXECUTE, Answer, Command, rejected, succeeded

SUBJECT_CHARS_MAX = 200
BOOK_INPUT = {
    "type": "object",
    "required": ["subject"],
    "properties": {"subject": {"type": "string", "minLength": 1, "maxLength": SUBJECT_CHARS_MAX}},
}


def book(connection: psycopg.Connection, command: Command) -> Answer:
    given = command.input if isinstance(command.input, dict) else {}
    subject = given.get("subject")
    # `isprintable` is false for what Postgres has no text for: NUL, half a surrogate pair.
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
        return rejected("bad_input", f"book wants subject: 1 to {SUBJECT_CHARS_MAX} characters")
    connection.execute(
        "insert into booking (saga, step, item, round, subject) values (%s, %s, %s, %s, %s)",
        (*command.row_key, subject),
    )
    return succeeded({"booked": subject})


def cancel_booking(connection: psycopg.Connection, command: Command) -> Answer:
    # What was booked, not what the input says: the books are the truth.
    cancelled = connection.execute(
        "update booking set cancelled = true where saga = %s and step = %s and item = %s and round = %s",
        command.row_key,
    ).rowcount
    if cancelled != 1:
        raise LookupError(f"{command.effect_key}: the barrier says booked, the books do not")
    return succeeded()


HANDLERS = {(EXECUTE, "book"): book, (COMPENSATE, "cancel_booking"): cancel_booking}
ANNOUNCED = [{"action": "book", "compensation": "cancel_booking", "input_schema": BOOK_INPUT}]
