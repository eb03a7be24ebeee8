//! The transactional action `decide`, undone by `undo_decide`: a payment that is decided here,
//! without a vendor. For shops that pay on account, and for measuring the engine without Toss.

use async_trait::async_trait;
use saga_worker::{Answer, Command, HandlerError, Transactional};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::input;

/// The handler.
#[derive(Clone, Copy, Debug)]
pub struct Decide;

#[derive(Default)]
struct Keys {
    sagas: Vec<Uuid>,
    steps: Vec<String>,
    items: Vec<i32>,
    rounds: Vec<i32>,
}

impl Keys {
    fn push(&mut self, command: &Command, round: u32) -> Result<(), HandlerError> {
        let fits = |number: u32| i32::try_from(number).map_err(|error| HandlerError::Data(error.to_string()));
        self.items.push(command.item.map_or(Ok(-1), fits)?);
        self.rounds.push(fits(round)?);
        self.sagas.push(command.saga.0);
        self.steps.push(command.step.to_string());
        Ok(())
    }
}

#[async_trait]
impl Transactional for Decide {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let mut keys = Keys::default();
        let (mut orders, mut amounts) = (Vec::new(), Vec::new());
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let asked: input::Decision = match command.parse_input() {
                Ok(asked) => asked,
                Err(answer) => {
                    answers.push(answer);
                    continue;
                }
            };
            if asked.reject || asked.amount <= 0 {
                answers.push(Answer::rejected("payment_refused", "the payment was refused"));
                continue;
            }
            keys.push(command, command.round)?;
            orders.push(String::from(asked.order_id));
            amounts.push(asked.amount);
            answers.push(Answer::ok());
        }
        sqlx::query(
            "insert into amends_payment.decision (saga, step, item, round, order_id, amount)
             select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::text[], $6::bigint[])",
        )
        .bind(keys.sagas)
        .bind(keys.steps)
        .bind(keys.items)
        .bind(keys.rounds)
        .bind(orders)
        .bind(amounts)
        .execute(tx)
        .await?;
        Ok(answers)
    }

    async fn compensate(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let mut keys = Keys::default();
        for command in commands {
            keys.push(command, command.execute_round())?;
        }
        sqlx::query(
            "update amends_payment.decision as it set undone_at = now()
             from unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) as key (saga, step, item, round)
             where it.saga = key.saga and it.step = key.step and it.item = key.item and it.round = key.round",
        )
        .bind(keys.sagas)
        .bind(keys.steps)
        .bind(keys.items)
        .bind(keys.rounds)
        .execute(tx)
        .await?;
        Ok(commands.iter().map(|_| Answer::ok()).collect())
    }
}
