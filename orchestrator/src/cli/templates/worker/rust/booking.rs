//! The action `book` and its compensation `cancel_booking`. This is the business: put yours here.

use std::collections::HashSet;

use saga_worker::{Answer, Command, HandlerError, Transactional, async_trait};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

/// The longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// `book`: books a subject.
#[derive(Clone, Copy, Debug)]
pub struct Book;

/// What `book` wants, as it is announced. The engine warns of a start that cannot give it.
pub fn input_schema() -> Value {
    json!({
        "type": "object",
        "required": ["subject"],
        "properties": { "subject": { "type": "string", "minLength": 1, "maxLength": SUBJECT_CHARS_MAX } },
    })
}

#[derive(Deserialize)]
struct Input {
    subject: String,
}

/// The command's input, or the answer to one that makes no sense.
fn subject(command: &Command) -> Result<String, Answer> {
    let Input { subject } = command.parse_input()?;
    let length = subject.chars().count();
    // Postgres has no text for NUL.
    if length == 0 || length > SUBJECT_CHARS_MAX || subject.contains('\0') {
        return Err(Answer::rejected("bad_input", format!("subject: 1 to {SUBJECT_CHARS_MAX} characters")));
    }
    Ok(subject)
}

/// Bookings' keys as the columns that `unnest` takes.
#[derive(Default)]
struct Keys {
    sagas: Vec<Uuid>,
    steps: Vec<String>,
    items: Vec<i32>,
    rounds: Vec<i32>,
}

impl Keys {
    fn push(&mut self, command: &Command) {
        let (saga, step, item, round) = key(command);
        self.sagas.push(saga);
        self.steps.push(step);
        self.items.push(item);
        self.rounds.push(round);
    }
}

/// What names a booking: the execute that made it.
fn key(command: &Command) -> (Uuid, String, i32, i32) {
    let item = command.item.map_or(-1, |item| i32::try_from(item).unwrap_or(i32::MAX));
    let round = i32::try_from(command.execute_round()).unwrap_or(i32::MAX);
    (command.saga.0, command.step.as_str().to_owned(), item, round)
}

#[async_trait]
impl Transactional for Book {
    async fn execute(
        &self,
        tx: &mut PgConnection,
        commands: &[Command],
    ) -> Result<Vec<Answer>, HandlerError> {
        let (mut keys, mut subjects, mut answers) = (Keys::default(), Vec::new(), Vec::new());
        for command in commands {
            match subject(command) {
                Ok(subject) => {
                    keys.push(command);
                    answers.push(Answer::output(&json!({ "booked": subject })));
                    subjects.push(subject);
                }
                Err(refusal) => answers.push(refusal),
            }
        }
        sqlx::query(
            "insert into booking (saga, step, item, round, subject)
             select * from unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::text[])",
        )
        .bind(keys.sagas)
        .bind(keys.steps)
        .bind(keys.items)
        .bind(keys.rounds)
        .bind(subjects)
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
        commands.iter().for_each(|command| keys.push(command));
        // What was booked, not what the input says: the books are the truth.
        let cancelled: HashSet<(Uuid, String, i32, i32)> = sqlx::query_as(
            "update booking set cancelled = true
             from unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) as asked (saga, step, item, round)
             where booking.saga = asked.saga and booking.step = asked.step
               and booking.item = asked.item and booking.round = asked.round
             returning booking.saga, booking.step, booking.item, booking.round",
        )
        .bind(keys.sagas)
        .bind(keys.steps)
        .bind(keys.items)
        .bind(keys.rounds)
        .fetch_all(tx)
        .await?
        .into_iter()
        .collect();
        Ok(commands
            .iter()
            .map(|command| {
                if cancelled.contains(&key(command)) {
                    Answer::ok()
                } else {
                    // The barrier says that it was booked here, so the row was lost.
                    Answer::undecidable("booking_missing", "it was booked, but no row says so")
                }
            })
            .collect())
    }
}
