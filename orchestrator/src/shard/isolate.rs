//! A record cannot stop a shard: what fails for its data is bisected, until the one that is at fault is
//! alone; it parks its saga, and the offset moves on.

use std::collections::VecDeque;
use std::sync::Arc;

use saga_core::What;

use super::decide::{Decision, dead_letter};
use super::lane::{Lane, Unreadable};
use super::{Incoming, Input};
use crate::clock;

/// When a timer that cannot be applied is looked at again, in ms.
const POISONED_MS: i64 = 60_000;

impl Lane {
    /// Takes inputs in, whatever they hold. After a failure that is not the data's, the shards are claimed
    /// again, and everything is read again from where the database says.
    pub(crate) async fn take_in(&mut self, inputs: Vec<Input>) {
        let mut parts = VecDeque::from([inputs]);
        while let Some(mut part) = parts.pop_front() {
            part.retain(|input| self.shards.contains_key(&input.shard()));
            match self.attempt(&part).await {
                Ok(()) => {}
                Err(error) if error.is_the_datas() && part.len() > 1 => {
                    tracing::warn!(%error, inputs = part.len(), "a batch cannot be applied; bisecting");
                    self.forget(&part);
                    let rest = part.split_off(part.len() / 2);
                    parts.push_front(rest);
                    parts.push_front(part);
                }
                Err(error) if error.is_the_datas() => {
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

    /// One input that cannot be applied: park its saga, in the transaction that moves the offset on; when
    /// even that is refused, only the coarse status changes.
    async fn poison(&mut self, input: &Input, reason: &str) {
        metrics::counter!("amends_poison_total").increment(1);
        tracing::error!(reason, "a record cannot be applied; its saga is parked");
        let reason: String = reason.chars().take(500).collect();
        let tell = |(shard, saga)| Input::Tell { shard, saga, what: What::Poison(reason.clone()) };
        let parked: Vec<Input> = input.needs().map(tell).into_iter().collect();
        let mut done = self.attempt_with(self.set_aside(input, &reason), &parked).await;
        if let Err(error) = &done
            && error.is_the_datas()
        {
            tracing::error!(%error, "a poisoned saga cannot even be parked");
            self.forget(&parked);
            let mut decision = self.set_aside(input, &reason);
            decision.batch.statuses.extend(input.needs().map(|(shard, saga)| (shard, saga.0, 1)));
            done = self.commit(decision).await;
        }
        if let Err(error) = done {
            tracing::error!(error = ?error, "the database fails; claiming the shards again");
            self.all_fenced();
        }
        // What is due stays due, and must not be tried again at once and for ever.
        if let Input::Due { shard, saga } = input
            && self.shards.contains_key(shard)
        {
            self.timers.set(*shard, *saga, Some(clock::now() + POISONED_MS));
        }
    }

    /// What takes a poisoned input out of the way.
    fn set_aside(&self, input: &Input, reason: &str) -> Decision {
        let mut decision = Decision::default();
        match input {
            Input::Record { shard, offset, record } => {
                decision.offsets.insert(*shard, offset + 1);
                let source = self.source(*shard, *offset);
                let saga = input.needs().map(|(_, saga)| saga);
                let data = match record.as_ref() {
                    Incoming::Reply(reply) => serde_json::to_vec(reply).unwrap_or_default(),
                    Incoming::Dead { data, .. } => data.clone(),
                    Incoming::Started(_) | Incoming::Nudge(_) => Vec::new(),
                };
                dead_letter(&mut decision, *shard, source, reason.to_owned(), String::new(), data, saga);
            }
            Input::Mail(mail) => {
                let result = format!("refused: {reason}").replace('\0', "\u{fffd}");
                decision.batch.taken.push((mail.shard, mail.id, result, None));
            }
            Input::Republish { shard, saga, key } => {
                decision.batch.sent.push((*shard, saga.0, Arc::clone(key)))
            }
            Input::Handover(_) | Input::Due { .. } | Input::Tell { .. } | Input::MailRead { .. } => {}
        }
        decision
    }

    /// A state that this build cannot read: nothing but the coarse status can say so.
    pub(crate) fn unreadable(&mut self, found: Unreadable) {
        let Unreadable { saga, reason, .. } = &found;
        tracing::error!(saga.id = %saga, reason, "a saga's state cannot be read; its coarse status says parked");
        self.unreadable.push(found);
    }
}
