"""What this worker does: `spend` points, and `refund_spend` to undo it.

A handler changes the database through the given connection and never commits: the barrier's row
belongs to the same transaction. Whoever answers `rejected` or `retryable` must have changed nothing.
"""

from __future__ import annotations

import psycopg

from .protocol import COMPENSATE, EXECUTE, Answer, Command, rejected, succeeded

SPEND_INPUT = {
    "type": "object",
    "required": ["customer_id", "points"],
    "properties": {
        "customer_id": {"type": "string", "minLength": 1},
        "points": {"type": "integer", "minimum": 1, "maximum": 1_000_000_000},
    },
}


def spend(connection: psycopg.Connection, command: Command) -> Answer:
    given = command.input if isinstance(command.input, dict) else {}
    customer, points = given.get("customer_id"), given.get("points")
    # `isprintable` is false for what Postgres has no text for: NUL, half a surrogate pair.
    good = isinstance(customer, str) and 0 < len(customer) <= 200 and customer.isprintable()
    if not good or type(points) is not int or not 1 <= points <= 1_000_000_000:
        return rejected("bad_input", "spend wants customer_id (text) and points (1 to 1,000,000,000)")
    row = connection.execute(
        "update account set points = points - %s where customer = %s and points >= %s returning points",
        (points, customer, points),
    ).fetchone()
    if row is None:
        return rejected("not_enough_points", f"the customer has less than {points} points")
    connection.execute(
        "insert into spending (saga, step, item, round, customer, points) values (%s, %s, %s, %s, %s, %s)",
        (*command.row_key, customer, points),
    )
    return succeeded({"points_left": row[0]})


def refund_spend(connection: psycopg.Connection, command: Command) -> Answer:
    # What was spent, not what the input says: the books are the truth.
    row = connection.execute(
        "update spending set refunded = true where saga = %s and step = %s and item = %s and round = %s"
        " and not refunded returning customer, points",
        command.row_key,
    ).fetchone()
    if row is None:
        raise LookupError(f"{command.effect_key}: the barrier says spent, the books do not")
    connection.execute("update account set points = points + %s where customer = %s", (row[1], row[0]))
    return succeeded()


HANDLERS = {(EXECUTE, "spend"): spend, (COMPENSATE, "refund_spend"): refund_spend}
ANNOUNCED = [{"action": "spend", "compensation": "refund_spend", "input_schema": SPEND_INPUT}]
