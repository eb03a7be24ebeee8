//! A transactional handler, set-based, whose inputs say how it is to misbehave.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use saga_worker::{Answer, Command, HandlerError, Transactional};
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub async fn migrate(pool: &PgPool) {
    // No unique key: a booking that is made twice shows.
    let statement = "create table booking (id uuid not null, amount integer not null, \
                     constraint booking_amount_positive check (amount > 0))";
    sqlx::query(statement).execute(pool).await.unwrap();
}

#[derive(Deserialize)]
struct Input {
    id: Uuid,
    amount: i32,
    #[serde(default)]
    mood: String,
}

#[derive(Default)]
pub struct Bookings {
    /// How many batches were begun.
    pub batches: AtomicU32,
    /// The next so many batches fail with a serialization error.
    pub conflicts: AtomicU32,
}

#[async_trait]
impl Transactional for Bookings {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        if self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            sqlx::query("do $$ begin raise exception 'try again' using errcode = '40001'; end $$")
                .execute(&mut *tx)
                .await?;
        }
        let mut answers = Vec::new();
        let (mut ids, mut amounts) = (Vec::new(), Vec::new());
        for command in commands {
            let input: Input = match command.parse_input() {
                Ok(input) => input,
                Err(answer) => {
                    answers.push(answer);
                    continue;
                }
            };
            answers.push(match input.mood.as_str() {
                "reject" => Answer::rejected("sold_out", "nothing is left"),
                "later" => Answer::retryable("busy", "not now").after_ms(7),
                "undecidable" => Answer::undecidable("odd", "cannot say"),
                "panic" => panic!("as the input says"),
                "broken" => {
                    sqlx::query("select * from no_such_table").execute(&mut *tx).await?;
                    Answer::ok()
                }
                mood => {
                    ids.push(input.id);
                    amounts.push(input.amount);
                    match mood {
                        "large" => Answer::output(&"x".repeat(70_000)),
                        "trace" => Answer::output(&command.traceparent),
                        _ => Answer::output(&serde_json::json!({ "id": input.id, "amount": input.amount })),
                    }
                }
            });
        }
        sqlx::query("insert into booking (id, amount) select * from unnest($1::uuid[], $2::integer[])")
            .bind(ids)
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
        let inputs: Result<Vec<Input>, Answer> = commands.iter().map(Command::parse_input).collect();
        let inputs = inputs.map_err(|answer| HandlerError::Data(format!("{answer:?}")))?;
        let mut answers = Vec::new();
        let mut ids = Vec::new();
        for (input, command) in inputs.iter().zip(commands) {
            // A compensation that business refuses once, and grants when asked in a new round.
            if input.mood == "stubborn" && command.round == 1 {
                answers.push(Answer::rejected("not_yet", "ask a human"));
            } else {
                ids.push(input.id);
                answers.push(Answer::ok());
            }
        }
        // One booking each: undoing twice would leave a debt, and show.
        sqlx::query("delete from booking where ctid in (select min(ctid) from booking where id = any($1) group by id)")
            .bind(ids)
            .execute(tx)
            .await?;
        Ok(answers)
    }
}
