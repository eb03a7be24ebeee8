//! The action `reserve` and its compensation `release`.
//!
//! Owns what becomes of each command of a batch; who gets what is `allocate`'s decision.

use std::collections::{BTreeSet, HashMap};

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::allocate::{Decision, allocate};
use crate::books::{self, Movement};
use crate::input::{Request, Sku};
use crate::reservations::{self, Key, Status};

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
        let requests: Vec<&Request> = parsed.iter().filter_map(|request| request.as_ref().ok()).collect();
        let skus: BTreeSet<&Sku> = requests.iter().flat_map(|request| request.units.keys()).collect();
        let available = if skus.is_empty() { HashMap::new() } else { books::lock(tx, skus).await? };
        let (decisions, taken) = allocate(available, &requests);

        let keys = commands.iter().zip(&parsed).filter(|(_, request)| request.is_ok());
        let reserved: Vec<(Key, &Request)> = keys
            .zip(&requests)
            .zip(&decisions)
            .filter(|(_, decision)| **decision == Decision::Reserved)
            .map(|(((command, _), request), _)| (Key::of(command), *request))
            .collect();
        books::shift(tx, Movement::Reserve, &taken).await?;
        reservations::insert(tx, &reserved).await?;

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
        let found: HashMap<Key, Status> = reservations::lock(tx, &keys)
            .await?
            .into_iter()
            .map(|reservation| (reservation.key, reservation.status))
            .collect();
        let releasing: Vec<&Key> =
            keys.iter().filter(|key| found.get(key) == Some(&Status::Reserved)).collect();
        let units = reservations::settle(tx, &releasing, Status::Released).await?;
        books::lock(tx, units.keys()).await?;
        books::shift(tx, Movement::Release, &units).await?;
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
