//! The action `commit`: what was reserved for an order is sold. It stands after the pivot and has no
//! compensation.

use std::collections::HashMap;

use saga_protocol::SagaId;
use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::input::{self, OrderId};
use crate::reservations::{self, Reservation, Status};

/// `commit`: sells everything that the same saga holds for the order.
#[derive(Clone, Copy, Debug)]
pub struct Commit;

#[async_trait]
impl Transactional for Commit {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let orders: Vec<_> = commands.iter().map(input::committed_order).collect();
        let wanted: Vec<(SagaId, &OrderId)> = commands
            .iter()
            .zip(&orders)
            .filter_map(|(command, order)| Some((command.saga, order.as_ref().ok()?)))
            .collect();
        let mut held: HashMap<(SagaId, String), Vec<Reservation>> = HashMap::new();
        for reservation in reservations::sell(tx, &wanted).await? {
            held.entry((reservation.saga(), reservation.order_id.clone())).or_default().push(reservation);
        }
        Ok(commands
            .iter()
            .zip(orders)
            .map(|(command, order)| match order {
                Err(refusal) => refusal,
                Ok(order) => answer(&order, held.get(&(command.saga, order.as_str().to_owned()))),
            })
            .collect())
    }

    async fn compensate(
        &self,
        _tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        // Registered without a compensation, so nothing asks for one.
        Ok(commands.iter().map(|_| Answer::undecidable("no_compensation", "a sale is not undone")).collect())
    }
}

fn answer(order: &OrderId, held: Option<&Vec<Reservation>>) -> Answer {
    match held {
        None => Answer::rejected(
            "nothing_reserved",
            format!("this saga holds nothing for order {}", order.as_str()),
        ),
        // Some were released and others stand only when a saga reserves in several steps.
        Some(held) if held.iter().all(|reservation| reservation.status == Status::Released) => {
            Answer::rejected("reservation_released", "what was reserved for the order has been released")
        }
        Some(_) => Answer::ok(),
    }
}
