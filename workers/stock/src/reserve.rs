//! The action `reserve` and its compensation `release`.
//!
//! Owns what becomes of each command of a batch; who gets what is `allocate`'s decision.

use std::collections::HashMap;

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::allocate::{Decision, allocate};
use crate::input::Request;
use crate::reservations::{self, Key, Reserved, Status};

/// `reserve`: sets units aside for an order, all of them or none. `release`: puts them back.
#[derive(Clone, Copy, Debug)]
pub struct Reserve;

#[async_trait]
impl Transactional for Reserve {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let parsed: Vec<_> = commands.iter().map(Request::of).collect();
        let mut wanted: Vec<(Key, &Request)> = Vec::new();
        for (command, request) in commands.iter().zip(&parsed) {
            if let Ok(request) = request {
                wanted.push((Key::of(command), request));
            }
        }
        let Reserved { all, available } = reservations::reserve(tx, &wanted).await?;
        let decisions = if all {
            vec![Decision::Reserved; wanted.len()]
        } else {
            let requests: Vec<&Request> = wanted.iter().map(|(_, request)| *request).collect();
            let decisions = allocate(available, &requests);
            let served = wanted.into_iter().zip(&decisions);
            let served: Vec<_> =
                served.filter(|(_, decision)| **decision == Decision::Reserved).map(|(one, _)| one).collect();
            if !reservations::reserve(tx, &served).await?.all {
                return Err(HandlerError::Data("what was left in the books is not there any more".into()));
            }
            decisions
        };

        let mut decisions = decisions.into_iter();
        Ok(parsed
            .into_iter()
            .map(|request| match request {
                Err(refusal) => refusal,
                Ok(_) => answer(decisions.next()),
            })
            .collect())
    }

    async fn compensate(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let keys: Vec<Key> = commands.iter().map(Key::of).collect();
        let found: HashMap<Key, Status> = reservations::release(tx, &keys)
            .await?
            .into_iter()
            .map(|reservation| (reservation.key, reservation.status))
            .collect();
        Ok(keys
            .iter()
            .map(|key| match found.get(key) {
                Some(Status::Reserved | Status::Released) => Answer::ok(),
                Some(Status::Sold) => Answer::rejected(
                    "reservation_sold",
                    "the reservation was turned into a sale; a return is a decision of its own",
                ),
                // The barrier says that this reserve succeeded here, so the row was lost.
                None => {
                    Answer::undecidable("reservation_missing", "the stock was reserved, but no row says so")
                }
            })
            .collect())
    }
}

fn answer(decision: Option<Decision>) -> Answer {
    match decision {
        Some(Decision::Reserved) => Answer::ok(),
        Some(Decision::OutOfStock { sku, asked, left }) => {
            Answer::rejected("out_of_stock", format!("{}: {asked} asked for, {left} left", sku.as_str()))
        }
        Some(Decision::UnknownSku(sku)) => {
            Answer::rejected("unknown_sku", format!("{} is not in the books", sku.as_str()))
        }
        // One decision a request is `allocate`'s promise; should it break, nothing is claimed.
        None => Answer::own_trouble("undecided", "no decision was made"),
    }
}
