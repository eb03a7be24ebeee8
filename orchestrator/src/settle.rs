//! What came of an action: where a saga stands now, in words that an operator believes.
//!
//! Reads only. "Requested" is never "succeeded": whoever acts is told what happened.

use std::time::Duration;

use saga_core::{CellRef, Run, State, Status};
use saga_protocol::{Direction, SagaId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::words;
use crate::engine::Engine;
use crate::projection::failures;
use crate::store::StoreError;
use crate::store::read::STATUS_WORDS;

/// Where a saga stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its status.
    pub status: String,
    /// Its revision.
    pub revision: u32,
    /// What went wrong, as `step: CODE` and a message.
    pub reason: Option<(String, String)>,
    /// What it is doing, while it runs.
    pub doing: Option<String>,
    /// Steps, and items of steps, that are done, or undone.
    pub done: Vec<Done>,
}

/// What is done, or undone; by its worker, or because somebody says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    at: CellRef,
    name: String,
    by_hand: bool,
}

impl Done {
    const fn word(&self) -> &'static str {
        match (self.at.direction, self.by_hand) {
            (Direction::Execute, false) => "succeeded",
            (Direction::Execute, true) => "is skipped",
            (Direction::Compensate, false) => "is undone",
            (Direction::Compensate, true) => "is marked as undone",
        }
    }
}

impl Outcome {
    /// In words.
    pub fn words(&self) -> String {
        let because = self.reason.as_ref().map(|(code, message)| format!(": {code} ({message})"));
        match self.status.as_str() {
            "running" => {
                self.doing.as_ref().map_or_else(|| "running".to_owned(), |doing| format!("running: {doing}"))
            }
            "parked" => format!("parked{}", because.unwrap_or_default()),
            "compensated" => format!("compensated{}", because.unwrap_or_default()),
            other => other.to_owned(),
        }
    }
}

/// Waits until a saga has ended, needs a human again, or is past a step; and says so. At once without a time.
///
/// # Errors
/// When the database fails.
pub async fn wait(
    engine: &Engine,
    saga: SagaId,
    step: Option<CellRef>,
    wait: Duration,
    closing: &CancellationToken,
) -> Result<Option<(Outcome, String)>, StoreError> {
    let until = Instant::now() + wait;
    let mut pause_ms = 20;
    loop {
        let Some((_, stands)) = outcomes(engine, &[saga]).await?.pop() else { return Ok(None) };
        let past = stands.done.iter().find(|it| !wait.is_zero() && step == Some(it.at));
        let is_past = past.is_some();
        let words = match past {
            Some(done) => format!("{} {}; the saga is {}", done.name, done.word(), stands.words()),
            None => stands.words(),
        };
        if is_past || stands.status != "running" || Instant::now() >= until || closing.is_cancelled() {
            return Ok(Some((stands, words)));
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(500);
    }
}

/// Looks at sagas. Ids that are none are absent.
///
/// # Errors
/// When the database fails.
pub async fn outcomes(engine: &Engine, ids: &[SagaId]) -> Result<Vec<(SagaId, Outcome)>, StoreError> {
    let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let read = engine.store.read_for_projection(&uuids).await?;
    let errors = engine.store.errors_of(&read).await?;
    let mut outcomes = Vec::with_capacity(read.len());
    for it in read {
        let id = SagaId(it.id);
        let word = status_word(it.status);
        let Ok(state) = &it.state else {
            let reason = Some(("unreadable".to_owned(), "its state cannot be read".to_owned()));
            outcomes.push((id, Outcome { status: word, revision: 0, reason, doing: None, done: Vec::new() }));
            continue;
        };
        let Some(published) = engine.definitions.get(&engine.store, it.definition).await? else { continue };
        let errors = errors.get(&it.id).map(Vec::as_slice).unwrap_or_default();
        let failure = match state.status {
            Status::Running => None,
            _ => failures::failure(&published.definition, state, errors, None),
        };
        let reason = failure.map(|it| {
            let step = it.step.map(|step| format!("{step}: ")).unwrap_or_default();
            (format!("{step}{}", it.code), it.message)
        });
        let doing = doing(&published.definition, state);
        let done = state
            .tracks()
            .filter(|(_, track)| matches!(track.run, Run::Succeeded | Run::Skipped))
            .filter_map(|(at, track)| {
                let name = words::cell_name(&published.definition, at)?;
                Some(Done { at, name, by_hand: track.run == Run::Skipped })
            })
            .collect();
        outcomes.push((id, Outcome { status: word, revision: state.revision, reason, doing, done }));
    }
    Ok(outcomes)
}

fn status_word(number: i16) -> String {
    let word = usize::try_from(number).ok().and_then(|at| STATUS_WORDS.get(at));
    word.copied().unwrap_or("running").to_owned()
}

/// What a running saga is doing: its open tracks.
fn doing(definition: &saga_core::Definition, state: &State) -> Option<String> {
    let open = state.tracks().filter(|(_, track)| {
        matches!(track.run, Run::Sent | Run::Unknown | Run::Backoff | Run::Waiting | Run::Held)
    });
    let named = open.filter_map(|(cell, track)| {
        let doing = match (cell.direction, track.run) {
            (Direction::Compensate, Run::Sent) => "is being undone".to_owned(),
            (Direction::Compensate, run) => format!("(undoing) {}", words::run(run)),
            (Direction::Execute, run) => words::run(run).to_owned(),
        };
        Some(format!("{} {doing}", words::cell_name(definition, cell)?))
    });
    let all: Vec<String> = named.take(3).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
