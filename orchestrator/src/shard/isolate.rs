//! A record cannot stop a shard: what fails for its data is bisected, until the one that is at fault is
//! alone; it parks its saga, and the offset moves on.

use std::collections::VecDeque;

use saga_core::What;
use saga_protocol::SagaId;

use super::Input;
use super::decide::{Decision, dead_letter};
use super::lane::Lane;
use crate::store::StoreError;

impl Lane {
    /// Takes inputs in, whatever they hold. After a failure that is not the data's, the shards are claimed
    /// again, and everything is read again from where the database says.
    pub(crate) async fn take_in(&mut self, inputs: Vec<Input>) {
        let mut parts = VecDeque::from([inputs]);
        while let Some(mut part) = parts.pop_front() {
            part.retain(|input| self.shards.contains_key(&input.shard()));
            match self.attempt(&part).await {
                Ok(()) => {}
                Err(StoreError::Data(error)) if part.len() > 1 => {
                    tracing::warn!(%error, inputs = part.len(), "a batch is refused for its data; bisecting");
                    self.forget(&part);
                    let rest = part.split_off(part.len() / 2);
                    parts.push_front(rest);
                    parts.push_front(part);
                }
                Err(StoreError::Data(error)) => {
                    self.forget(&part);
                    if let Some(input) = part.first() {
                        self.poison(input, &error.to_string()).await;
                    }
                }
                Err(error) => {
                    tracing::error!(error = ?error, "a commit's outcome is unknown; claiming the shards again");
                    self.all_fenced();
                    return;
                }
            }
        }
    }

    fn forget(&mut self, inputs: &[Input]) {
        for (_, saga) in inputs.iter().filter_map(Input::needs) {
            self.sagas.forget(saga);
        }
    }

    /// One input that the database refuses: park the saga, in a transaction that moves the offset on; when
    /// even that is refused, only the coarse status changes.
    async fn poison(&mut self, input: &Input, reason: &str) {
        metrics::counter!("amends_poison_total").increment(1);
        tracing::error!(reason, "a record cannot be applied; its saga is parked");
        let mut parked = Vec::new();
        if let Some((shard, saga)) = input.needs() {
            parked.push(Input::Tell { shard, saga, what: What::Poison(reason.chars().take(500).collect()) });
        }
        if let Input::Mail(mail) = input {
            let mut decision = Decision::default();
            decision.batch.taken.push((mail.shard, mail.id, "refused: the database refuses its data".into()));
            self.last_resort(decision).await;
        }
        let mut decision = Decision::default();
        if let Input::Record { shard, offset, .. } = input {
            decision.offsets.insert(*shard, offset + 1);
            let source = format!("{}/{shard}/{offset}", self.context.topics.inbox());
            let saga = input.needs().map(|(_, saga)| saga);
            dead_letter(&mut decision, *shard, source, reason.to_owned(), String::new(), Vec::new(), saga);
        }
        self.last_resort(decision).await;
        if let Err(error) = self.attempt(&parked).await {
            tracing::error!(error = ?error, "a poisoned saga cannot even be parked");
            self.forget(&parked);
            let mut decision = Decision::default();
            for (shard, saga) in parked.iter().filter_map(Input::needs) {
                decision.batch.statuses.push((shard, saga.0, 1));
            }
            self.last_resort(decision).await;
        }
    }

    /// A state that this build cannot read: nothing but the coarse status can say so.
    pub(crate) fn unreadable(&mut self, shard: i32, saga: SagaId, reason: String) {
        tracing::error!(saga.id = %saga, reason, "a saga's state cannot be read; its coarse status says parked");
        self.unreadable.push((shard, saga, reason));
    }

    async fn last_resort(&mut self, decision: Decision) {
        if let Err(error) = self.commit(decision).await {
            tracing::error!(error = ?error, "the database fails; claiming the shards again");
            self.all_fenced();
        }
    }
}
