//! The action `create` and its compensation `cancel`.
//!
//! Owns what becomes of each command of a batch. The statements are the store's.

use std::collections::HashSet;

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::input::{Named, NewOrder, OrderId};
use crate::store::{self, Status};

/// `create`: writes the order down. `cancel`: keeps it, as cancelled.
#[derive(Clone, Copy, Debug)]
pub struct Create;

#[async_trait]
impl Transactional for Create {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let orders: Vec<_> = commands.iter().map(NewOrder::of).collect();
        // Of two commands of one batch that want the same id, the first to arrive gets it.
        let mut taken: HashSet<&OrderId> = HashSet::new();
        let mut wanted: Vec<(usize, &NewOrder)> = Vec::new();
        for (index, order) in orders.iter().enumerate() {
            if let Ok(order) = order
                && taken.insert(&order.order_id)
            {
                wanted.push((index, order));
            }
        }
        let rows: Vec<_> = wanted.iter().map(|(index, order)| (commands[*index].saga, *order)).collect();
        let inserted = store::insert(tx, &rows).await?;
        let created: HashSet<usize> = wanted
            .iter()
            .filter(|(_, order)| inserted.contains(order.order_id.as_str()))
            .map(|(index, _)| *index)
            .collect();
        let answers = orders.into_iter().enumerate().map(|(index, order)| match order {
            Err(refusal) => refusal,
            Ok(_) if created.contains(&index) => Answer::ok(),
            Ok(order) => Answer::rejected(
                "order_exists",
                format!("another order {} stands already", order.order_id.as_str()),
            ),
        });
        Ok(answers.collect())
    }

    async fn compensate(
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
        let found = store::cancel(tx, &keys).await?;
        let mut answers = Vec::with_capacity(commands.len());
        for (command, named) in commands.iter().zip(named) {
            let order = match &named {
                Ok(named) => found.get(command.saga, &named.order_id),
                Err(_) => None,
            };
            answers.push(match order {
                Some(order) if order.status != Status::Completed => Answer::ok(),
                Some(_) => Answer::rejected(
                    "order_completed",
                    "the order is completed; to take it back is a decision of its own",
                ),
                // The barrier says that this saga's create succeeded here, so the row was lost.
                None => Answer::undecidable("order_missing", "the order was created, but it is not there"),
            });
        }
        Ok(answers)
    }
}
