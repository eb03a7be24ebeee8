//! The action `complete`: the order stands for good. It has no compensation.

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::input::Named;
use crate::store::{self, Status};

/// `complete`: only the saga that created an order completes it, so that a command that comes late
/// from a failed saga cannot complete the order of its replay.
#[derive(Clone, Copy, Debug)]
pub struct Complete;

#[async_trait]
impl Transactional for Complete {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let named: Vec<_> = commands.iter().map(Named::of).collect();
        let keys: Vec<_> = commands
            .iter()
            .zip(&named)
            .filter_map(|(command, named)| Some((command.saga, &named.as_ref().ok()?.order_id)))
            .collect();
        let found = store::lock(tx, &keys).await?;
        let mut completing = Vec::new();
        let mut answers = Vec::with_capacity(commands.len());
        for (command, named) in commands.iter().zip(named) {
            let named = match named {
                Ok(named) => named,
                Err(refusal) => {
                    answers.push(refusal);
                    continue;
                }
            };
            answers.push(match found.get(command.saga, &named.order_id) {
                Some(order) if named.due.is_some_and(|due| due > order.amount) => Answer::rejected(
                    "invalid_order",
                    format!("due is more than the order's amount, {}", order.amount),
                ),
                Some(order) if order.status == Status::Created => {
                    completing.push((order.row, named.due));
                    Answer::ok()
                }
                Some(order) if order.status == Status::Completed => Answer::ok(),
                Some(_) => Answer::rejected("order_cancelled", "the order is cancelled"),
                None => Answer::rejected(
                    "order_unknown",
                    format!("this saga has created no order {}", named.order_id.as_str()),
                ),
            });
        }
        store::complete(tx, &completing).await?;
        Ok(answers)
    }

    async fn compensate(
        &self,
        _tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        // Registered without a compensation, so nothing asks for one.
        Ok(commands
            .iter()
            .map(|_| Answer::undecidable("no_compensation", "a completed order is not undone"))
            .collect())
    }
}
