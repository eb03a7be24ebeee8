//! The actions `order_completed` and `order_cancelled`. What was told cannot be untold, so they have
//! no compensation.

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use sqlx::PgConnection;

use crate::notice::{self, Kind};
use crate::outbox;

/// Accepts notices of one kind into the outbox; it never talks to the feed.
#[derive(Clone, Copy, Debug)]
pub struct Tell(pub Kind);

#[async_trait]
impl Transactional for Tell {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let mut accepted = Vec::new();
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            answers.push(match notice::of(command) {
                Ok((order_id, data)) => {
                    accepted.push(outbox::Accepted {
                        effect_key: command.effect_key(),
                        kind: self.0,
                        order_id,
                        data,
                    });
                    Answer::ok()
                }
                Err(refusal) => refusal,
            });
        }
        outbox::insert(tx, &accepted).await?;
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
            .map(|_| Answer::undecidable("no_compensation", "a notice is not undone"))
            .collect())
    }
}
