//! The action `restock`: sold units come back to the shelf, such as after a return. It has no compensation.
//!
//! Owns that no more comes back than was sold; whose order it was is the order worker's business.

use std::collections::BTreeMap;

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::books;
use crate::input::{self, Sku};

/// `restock`.
#[derive(Clone, Copy, Debug)]
pub struct Restock;

#[async_trait]
impl Transactional for Restock {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let asked: Vec<_> = commands.iter().map(input::returned_units).collect();
        let skus: std::collections::BTreeSet<&Sku> =
            asked.iter().flatten().flat_map(BTreeMap::keys).collect();
        let mut sold = books::lock_sold(tx, skus).await?;
        let mut moving: BTreeMap<Sku, i64> = BTreeMap::new();
        let mut answers = Vec::with_capacity(commands.len());
        for units in asked {
            let units = match units {
                Ok(units) => units,
                Err(refusal) => {
                    answers.push(refusal);
                    continue;
                }
            };
            let missing = units.iter().find(|(sku, wanted)| sold.get(*sku).is_none_or(|sold| sold < *wanted));
            if let Some((sku, wanted)) = missing {
                let sold = sold.get(sku).copied().unwrap_or(0);
                let words = format!("{wanted} of {} come back, and {sold} were sold", sku.as_str());
                answers.push(Answer::rejected("not_sold", words));
                continue;
            }
            for (sku, quantity) in units {
                sold.entry(sku.clone()).and_modify(|sold| *sold -= quantity);
                *moving.entry(sku).or_insert(0) += quantity;
            }
            answers.push(Answer::ok());
        }
        books::put_back(tx, &moving).await?;
        Ok(answers)
    }

    async fn compensate(
        &self,
        _tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        // Registered without a compensation, so nothing asks for one.
        let answer = || Answer::undecidable("no_compensation", "what is on the shelf again is not sold anew");
        Ok(commands.iter().map(|_| answer()).collect())
    }
}
