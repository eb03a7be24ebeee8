// What this worker does: `redeem` a coupon, and `give_back` to undo it.
//
// A handler changes the database through the given connection and never commits: the barrier's row belongs to the same
// transaction. Whoever answers `rejected` or `retryable` must have changed nothing.

import type { ClientBase } from "pg";

import type { Handler } from "./barrier.js";
import { type Answer, type Command, type Json, effectKey, rejected, rowKey, succeeded } from "./protocol.js";

const REDEEM_INPUT = {
  type: "object",
  required: ["order_id", "coupon", "amount"],
  properties: {
    order_id: { type: "string", minLength: 1, maxLength: 64 },
    coupon: { type: "string", pattern: "^[A-Z0-9-]{4,32}$" },
    amount: { type: "integer", minimum: 1 },
  },
};
const REDEEM_OUTPUT = { type: "object", required: ["discount"], properties: { discount: { type: "integer" } } };

async function redeem(db: ClientBase, command: Command): Promise<Answer> {
  const given = command.input !== null && typeof command.input === "object" ? (command.input as { [key: string]: Json }) : {};
  const { order_id: order, coupon, amount } = given;
  const good =
    typeof order === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(order) &&
    typeof coupon === "string" && /^[A-Z0-9-]{4,32}$/.test(coupon) &&
    typeof amount === "number" && Number.isSafeInteger(amount) && amount >= 1;
  if (!good) return rejected("bad_input", "redeem wants order_id, coupon (4 to 32 of A-Z, 0-9, -) and amount (1 or more)");
  await issue(db, coupon);
  // The lock: two orders that want the same coupon decide one after the other.
  const found = await db.query<{ discount: string; minimum: string; saga: string | null }>(
    "select discount, minimum, saga from coupon where code = $1 for update",
    [coupon],
  );
  const row = found.rows[0];
  if (row === undefined) return rejected("no_such_coupon", "there is no such coupon");
  if (row.saga !== null) return rejected("coupon_used", "the coupon is used already");
  const discount = Number(row.discount);
  if (amount < Number(row.minimum)) return rejected("order_too_small", `the coupon is for orders of ${row.minimum} or more`);
  // Something must be left to pay.
  if (discount >= amount) return rejected("order_too_small", `the coupon is worth ${discount}, the order ${amount}`);
  await db.query("update coupon set saga = $1, step = $2, item = $3, round = $4, order_id = $5 where code = $6", [
    ...rowKey(command),
    order,
    coupon,
  ]);
  return succeeded({ discount });
}

// A coupon of a series, `SPRING-…` of `SPRING-*`, becomes a coupon of its own when it is first shown.
async function issue(db: ClientBase, coupon: string): Promise<void> {
  await db.query(
    `insert into coupon (code, discount, minimum)
     select $1, discount, minimum from coupon where code = regexp_replace($1, '[^-]*$', '') || '*' and $1 like '%-_%'
     on conflict (code) do nothing`,
    [coupon],
  );
}

async function giveBack(db: ClientBase, command: Command): Promise<Answer> {
  // What was redeemed, not what the input says: the books are the truth.
  const done = await db.query(
    `update coupon set saga = null, step = null, item = null, round = null, order_id = null
     where saga = $1 and step = $2 and item = $3 and round = $4`,
    rowKey(command),
  );
  if (done.rowCount !== 1) throw new Error(`${effectKey(command)}: the barrier says redeemed, the books do not`);
  return succeeded();
}

export const HANDLERS: Record<Command["direction"], Record<string, Handler>> = {
  execute: { redeem },
  compensate: { give_back: giveBack },
};

export const ANNOUNCED = [
  { action: "redeem", compensation: "give_back", input_schema: REDEEM_INPUT, output_schema: REDEEM_OUTPUT },
];
