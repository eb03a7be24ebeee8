//! The actions of a return: `open_return`, undone by `close_return`, and `decide_return`, which is final.
//!
//! Owns what may come back: of a completed order, no more than was ordered, and no more money than it cost. A return is
//! rare, so each command has statements of its own, behind one lock of all orders of the batch.

use std::collections::BTreeMap;

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::input::{LINES_MAX, OrderId, QUANTITY_MAX};

/// `open_return` and `close_return`.
#[derive(Clone, Copy, Debug)]
pub struct Open;

/// `decide_return`: what is granted, 0 included.
#[derive(Clone, Copy, Debug)]
pub struct Decide;

#[derive(Deserialize)]
struct NewReturn {
    return_id: String,
    order_id: String,
    items: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: i64,
}

#[derive(Deserialize)]
struct Decision {
    return_id: String,
    refund_amount: i64,
}

#[async_trait]
impl Transactional for Open {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let asked: Vec<Result<NewReturn, Answer>> = commands.iter().map(NewReturn::of).collect();
        let orders: Vec<&str> = asked.iter().flatten().map(|it| it.order_id.as_str()).collect();
        // In the rows' order, as everywhere: two batches never wait for each other.
        sqlx::query(
            "select from amends_order.orders where order_id = any ($1) and voided = 0 order by id for no key update",
        )
        .bind(&orders)
        .execute(&mut *tx)
        .await?;
        let mut answers = Vec::with_capacity(commands.len());
        for (command, asked) in commands.iter().zip(asked) {
            answers.push(match asked {
                Err(refusal) => refusal,
                Ok(asked) => open(tx, command, &asked).await?,
            });
        }
        Ok(answers)
    }

    async fn compensate(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let Ok(asked) = NewReturn::of(command) else {
                answers
                    .push(Answer::undecidable("return_missing", "the return was opened by another version"));
                continue;
            };
            let closed = sqlx::query(
                "update amends_order.returns set status = 'closed', closed_at = now()
                 where return_id = $1 and saga = $2 and status = 'open'",
            )
            .bind(&asked.return_id)
            .bind(command.saga.0)
            .execute(&mut *tx)
            .await?;
            answers.push(if closed.rows_affected() == 1 {
                Answer::ok()
            } else {
                not_open(tx, command, &asked.return_id).await?
            });
        }
        Ok(answers)
    }
}

#[async_trait]
impl Transactional for Decide {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let asked: Vec<Result<Decision, Answer>> = commands.iter().map(Decision::of).collect();
        let returns: Vec<&str> = asked.iter().flatten().map(|it| it.return_id.as_str()).collect();
        sqlx::query(
            "select from amends_order.orders where id in
                 (select id from amends_order.returns where return_id = any ($1))
             order by id for no key update",
        )
        .bind(&returns)
        .execute(&mut *tx)
        .await?;
        let mut answers = Vec::with_capacity(commands.len());
        for (command, asked) in commands.iter().zip(asked) {
            answers.push(match asked {
                Err(refusal) => refusal,
                Ok(asked) => decide(tx, command, &asked).await?,
            });
        }
        Ok(answers)
    }

    async fn compensate(
        &self,
        _tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        // Registered without a compensation, so nothing asks for one.
        let answer = || Answer::undecidable("no_compensation", "what was granted is not taken back");
        Ok(commands.iter().map(|_| answer()).collect())
    }
}

async fn open(tx: &mut PgConnection, command: &Command, asked: &NewReturn) -> Result<Answer, HandlerError> {
    let order: Option<i64> = sqlx::query_scalar(
        "select id from amends_order.orders where order_id = $1 and voided = 0 and status = 'completed'",
    )
    .bind(&asked.order_id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(order) = order else {
        let words = format!("there is no completed order {}", asked.order_id);
        return Ok(Answer::rejected("order_not_completed", words));
    };
    let units = asked.units();
    let left: BTreeMap<String, i64> = sqlx::query_as::<_, (String, i64)>(
        "select sku, (sum(quantity) - coalesce((
             select sum(line.quantity) from amends_order.returns it join amends_order.return_lines line using (return_id)
             where it.id = $1 and line.sku = ordered.sku
                 -- Where nothing was granted the goods go back to the customer.
                 and (it.status = 'open' or (it.status = 'decided' and it.refund_amount > 0))), 0))::bigint
         from amends_order.order_lines ordered where id = $1 group by sku",
    )
    .bind(order)
    .fetch_all(&mut *tx)
    .await?
    .into_iter()
    .collect();
    if let Some((sku, wanted)) =
        units.iter().find(|(sku, wanted)| left.get(**sku).is_none_or(|left| left < *wanted))
    {
        let left = left.get(*sku).copied().unwrap_or(0);
        let words = format!("{wanted} of {sku} cannot come back: of the order, {left} can");
        return Ok(Answer::rejected("not_ordered", words));
    }
    let opened = sqlx::query(
        "insert into amends_order.returns (return_id, id, saga) values ($1, $2, $3)
         on conflict on constraint returns_pk do update
             set id = excluded.id, saga = excluded.saga, status = 'open', opened_at = now(), closed_at = null
             where returns.status = 'closed'",
    )
    .bind(&asked.return_id)
    .bind(order)
    .bind(command.saga.0)
    .execute(&mut *tx)
    .await?;
    if opened.rows_affected() == 0 {
        return Ok(Answer::rejected(
            "return_exists",
            format!("the return {} stands already", asked.return_id),
        ));
    }
    let (skus, quantities): (Vec<&str>, Vec<i64>) = units.into_iter().unzip();
    sqlx::query("delete from amends_order.return_lines where return_id = $1")
        .bind(&asked.return_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into amends_order.return_lines (return_id, sku, quantity)
         select $1, * from unnest($2::text[], $3::bigint[])",
    )
    .bind(&asked.return_id)
    .bind(skus)
    .bind(quantities)
    .execute(&mut *tx)
    .await?;
    Ok(Answer::ok())
}

async fn decide(tx: &mut PgConnection, command: &Command, asked: &Decision) -> Result<Answer, HandlerError> {
    let left: Option<i64> = sqlx::query_scalar(
        "select (coalesce(o.due, o.amount) - coalesce((
             select sum(refund_amount) from amends_order.returns other where other.id = o.id), 0))::bigint
         from amends_order.orders o join amends_order.returns it using (id)
         where it.return_id = $1 and it.saga = $2 and it.status = 'open'",
    )
    .bind(&asked.return_id)
    .bind(command.saga.0)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(left) = left else { return not_open(tx, command, &asked.return_id).await };
    if asked.refund_amount > left {
        let words =
            format!("{} cannot be granted: of what the order cost, {left} is left", asked.refund_amount);
        return Ok(Answer::rejected("refund_too_large", words));
    }
    sqlx::query(
        "update amends_order.returns set status = 'decided', refund_amount = $2, decided_at = now()
         where return_id = $1",
    )
    .bind(&asked.return_id)
    .bind(asked.refund_amount)
    .execute(&mut *tx)
    .await?;
    Ok(Answer::ok())
}

/// What a return that is not open (any more) means to a command that needs it so.
async fn not_open(tx: &mut PgConnection, command: &Command, id: &str) -> Result<Answer, HandlerError> {
    let status: Option<String> =
        sqlx::query_scalar("select status from amends_order.returns where return_id = $1 and saga = $2")
            .bind(id)
            .bind(command.saga.0)
            .fetch_optional(tx)
            .await?;
    let closes = command.direction == saga_protocol::Direction::Compensate;
    Ok(match status.as_deref() {
        Some("closed") if closes => Answer::ok(),
        Some("closed") => Answer::rejected("return_closed", "the return is closed"),
        Some(_) if closes => Answer::rejected("return_decided", "what was granted is not taken back"),
        Some(_) => Answer::rejected("return_decided", "the return is decided already"),
        None if closes => {
            // The barrier says that this saga's return was opened here, so the row was lost.
            Answer::undecidable("return_missing", "the return was opened, but it is not there")
        }
        None => Answer::rejected("return_unknown", format!("this saga has opened no return {id}")),
    })
}

impl NewReturn {
    fn of(command: &Command) -> Result<Self, Answer> {
        let parsed: Result<Self, String> =
            serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
        parsed.and_then(|it| it.check().map(|()| it)).map_err(|why| Answer::rejected("invalid_return", why))
    }

    fn check(&self) -> Result<(), String> {
        spelled(&self.return_id)?;
        OrderId::new(self.order_id.clone())?;
        if !(1..=LINES_MAX).contains(&self.items.len()) {
            return Err(format!("items must be 1 to {LINES_MAX} lines"));
        }
        for (index, line) in self.items.iter().enumerate() {
            if !(1..=QUANTITY_MAX).contains(&line.quantity) {
                return Err(format!("items[{index}]: quantity must be 1 to {QUANTITY_MAX}"));
            }
            // What no order can have; Postgres has no text for a part of it.
            if line.sku.is_empty() || line.sku.len() > 64 || line.sku.chars().any(char::is_control) {
                return Err(format!("items[{index}]: this is no sku"));
            }
        }
        Ok(())
    }

    /// How many of what; lines of one SKU are added up.
    fn units(&self) -> BTreeMap<&str, i64> {
        let mut units = BTreeMap::new();
        self.items.iter().for_each(|line| *units.entry(line.sku.as_str()).or_insert(0) += line.quantity);
        units
    }
}

impl Decision {
    fn of(command: &Command) -> Result<Self, Answer> {
        let parsed: Result<Self, String> =
            serde_json::from_str(command.input.get()).map_err(|error| error.to_string());
        parsed
            .and_then(|it| {
                spelled(&it.return_id)?;
                if it.refund_amount < 0 {
                    Err("refund_amount must not be negative".to_owned())
                } else {
                    Ok(it)
                }
            })
            .map_err(|why| Answer::rejected("invalid_decision", why))
    }
}

/// A return's id has an order id's spelling.
fn spelled(id: &str) -> Result<(), String> {
    OrderId::new(id).map(drop).map_err(|why| why.replace("order_id", "return_id"))
}

/// JSON Schema of `open_return`'s input, as announced.
pub fn open_schema() -> Value {
    let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" });
    json!({
        "type": "object",
        "required": ["return_id", "order_id", "items"],
        "properties": {
            "return_id": id,
            "order_id": id,
            "items": { "type": "array", "minItems": 1, "maxItems": LINES_MAX, "items": {
                "type": "object",
                "required": ["sku", "quantity"],
                "properties": {
                    "sku": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
                    "quantity": { "type": "integer", "minimum": 1, "maximum": QUANTITY_MAX },
                },
            } },
        },
    })
}

/// JSON Schema of `decide_return`'s input, as announced.
pub fn decide_schema() -> Value {
    json!({
        "type": "object",
        "required": ["return_id", "refund_amount"],
        "properties": {
            "return_id": { "type": "string", "pattern": "^[A-Za-z0-9_-]{6,64}$" },
            "refund_amount": { "type": "integer", "minimum": 0 },
        },
    })
}
