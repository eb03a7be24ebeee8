//! The barrier over rows in memory: for simulations that have no database. The rules are the real ones; it must
//! not be taken for a worker, which has batches, transactions and outside calls besides.

use std::collections::HashMap;

use saga_protocol::Reply;

use crate::answer::Answer;
use crate::barrier::{Now, Verdict, decide};
use crate::command::Command;
use crate::inbox::{Key, Row};

/// For how long rows are taken to be kept, in ms.
const RETENTION_MS: i64 = 30 * 24 * 3_600_000;

/// The inbox of a worker whose actions are all transactional.
#[derive(Debug, Default)]
pub struct MemoryInbox {
    rows: HashMap<Key, Row>,
}

impl MemoryInbox {
    /// Takes a command in, as one transaction of a worker does. `handle` is the handler: it is called if the barrier
    /// says so, and what it does is kept with its answer. `None` when the command's numbers are beyond what is kept.
    pub fn take(
        &mut self,
        command: saga_protocol::Command,
        now_ms: i64,
        handle: impl FnOnce(&Command) -> Answer,
    ) -> Option<Reply> {
        let key = Key::of(&command)?;
        let command = Command { wire: command, traceparent: None };
        let now = Now { now_ms, retention_ms: RETENTION_MS };
        let answer = match decide(&command, &key, self.rows.get(&key), now) {
            Verdict::Stored(answer) | Verdict::Reply(answer) => answer,
            Verdict::Record(answer, row) => {
                self.rows.insert(key, row);
                answer
            }
            Verdict::Run(mut row) => {
                let answer = handle(&command);
                if answer.is_final() {
                    row.keep(&command, &answer);
                    self.rows.insert(key, row);
                }
                answer
            }
            Verdict::AskFate(_) => Answer::own_trouble("intent_open", "no outside calls are made here"),
        };
        Some(answer.to_reply(&command))
    }
}
