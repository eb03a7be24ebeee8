//! A saga's state as a row of the projection. Pure.

use saga_core::definition::{Definition, Work};
use saga_core::state::{CellRef, Run, Track};
use saga_core::{Millis, Phase, State, Status};
use saga_protocol::{Direction, SagaId};
use uuid::Uuid;

use super::failures::{self, ErrorAt};
use crate::api::words;
use crate::outbox::Outbox;

/// A saga as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its id.
    pub id: Uuid,
    /// Its shard.
    pub shard: i32,
    /// Its definition's row.
    pub definition: i32,
    /// Its coarse status, by its number.
    pub status: i16,
    /// Its state, or why this build cannot read it.
    pub state: Result<State, String>,
    /// The amount at stake.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// Whether another saga has started it as a step of its own.
    pub child: bool,
}

/// A row of the projection.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Row {
    pub saga: Uuid,
    pub shard: i32,
    pub definition: i32,
    pub revision: i32,
    pub status: i16,
    pub run: Option<i16>,
    pub step: Option<String>,
    pub item: Option<i32>,
    pub direction: Option<i16>,
    pub worker: Option<String>,
    pub action: Option<String>,
    pub sent_ms: Option<i64>,
    pub late_ms: Option<i64>,
    pub due_ms: Option<i64>,
    pub since_ms: i64,
    pub attempt: Option<i32>,
    pub attempts_max: Option<i32>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub why: Option<String>,
    pub error_step: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub failure: Option<String>,
    /// The failure's message without what differs from saga to saga.
    pub failure_message: Option<String>,
    pub failure_revision: Option<i32>,
    pub failure_kind: Option<String>,
    /// Which way its step went that failed; the saga may stand elsewhere by now.
    pub failure_direction: Option<i16>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
}

/// Whether its history may say what went wrong.
pub fn may_have_failed(read: &Read) -> bool {
    let Ok(state) = &read.state else { return false };
    let failing =
        |run| matches!(run, Run::Unknown | Run::Backoff | Run::Rejected | Run::Exhausted | Run::Undecidable);
    read.status != 2
        && (!matches!(state.status, Status::Running)
            || matches!(state.phase, Phase::Unwinding { .. })
            || state.tracks().any(|(_, track)| failing(track.run)))
}

/// The number of a direction in tables.
pub const fn direction_number(direction: Direction) -> i16 {
    match direction {
        Direction::Execute => 0,
        Direction::Compensate => 1,
    }
}

const fn run_number(run: Run, due: Option<Millis>) -> Option<i16> {
    match run {
        Run::Held => Some(4),
        // An open track that nothing is due for is paused by a hold.
        Run::Sent | Run::Unknown | Run::Backoff if due.is_none() => Some(4),
        Run::Sent => Some(0),
        Run::Unknown => Some(1),
        Run::Backoff => Some(2),
        Run::Waiting => Some(3),
        _ => None,
    }
}

/// Where a running saga stands: the track that tells the most.
fn telling<'s>(definition: &Definition, state: &'s State) -> Option<(CellRef, &'s Track, i16)> {
    let unwinding = matches!(state.phase, Phase::Unwinding { .. });
    let open = state.tracks().filter_map(|(cell, track)| {
        let graph =
            definition.step(cell.step).is_some_and(|step| step.turn == saga_core::definition::Turn::Graph);
        // What an unwind has left behind is not driven any more.
        let left = unwinding && graph && cell.direction == Direction::Execute && track.due.is_none();
        Some((cell, track, run_number(track.run, track.due).filter(|_| !left)?))
    });
    // Trouble first, then what waits, then what is just under way.
    let rank = |run: i16| [4, 0, 0, 2, 1].get(usize::try_from(run).unwrap_or(0)).copied().unwrap_or(4);
    open.min_by_key(|(cell, track, run)| (rank(*run), std::cmp::Reverse(track.sent_at), *cell))
}

/// The row of a saga.
pub fn row(
    read: &Read,
    definition: &Definition,
    errors: &[ErrorAt],
    outbox: &Outbox,
    usual_ms: impl Fn(&str, Direction) -> Option<i64>,
) -> Row {
    let mut row = Row {
        saga: read.id,
        shard: read.shard,
        definition: read.definition,
        status: read.status,
        amount: read.amount,
        currency: read.currency.clone(),
        since_ms: started_ms(read.id),
        ..Row::default()
    };
    let state = match &read.state {
        Ok(state) => state,
        Err(reason) => {
            row.why = Some("unreadable".to_owned());
            row.error_code = Some("unreadable".to_owned());
            row.error_message = Some(reason.chars().take(300).collect());
            return row;
        }
    };
    row.revision = i32::try_from(state.revision).unwrap_or(i32::MAX);
    let at = match &state.status {
        Status::Parked(parked) => {
            row.why = Some(words::why(parked.why).0.to_owned());
            parked.cell
        }
        Status::Running => telling(definition, state).map(|(cell, track, run)| {
            row.run = Some(run);
            row.attempt = i32::try_from(track.attempt).ok();
            row.sent_ms = track.sent_at.map(|at| at.0);
            row.due_ms = track.due.map(|at| at.0);
            row.since_ms = track.first_sent_at.map_or(row.since_ms, |at| at.0);
            if let Some(step) = definition.step(cell.step) {
                let undo = step.compensation.as_ref().filter(|_| cell.direction == Direction::Compensate);
                let (timeout_ms, attempts_max) = undo
                    .map_or((step.timeout_ms, step.retry.attempts_max), |it| {
                        (it.timeout_ms, it.retry.attempts_max)
                    });
                row.attempts_max = i32::try_from(attempts_max).ok();
                let usual_ms = usual_ms(step.name.as_str(), cell.direction).unwrap_or(timeout_ms);
                row.late_ms = track.first_sent_at.filter(|_| run != 3).map(|at| at.0 + usual_ms);
            }
            let route = outbox.route(definition, SagaId(read.id), cell);
            (row.topic, row.partition) =
                route.map(|(topic, partition)| (topic.to_string(), partition)).unzip();
            cell
        }),
        _ => None,
    };
    if let Some(cell) = at
        && let Some(step) = definition.step(cell.step)
    {
        row.step = Some(step.name.as_str().to_owned());
        row.item = cell.item.and_then(|item| i32::try_from(item).ok());
        row.direction = Some(direction_number(cell.direction));
        if let Work::Action { worker, action } = &step.work {
            row.worker = Some(worker.clone());
            row.action = match (&step.compensation, cell.direction) {
                (Some(undo), Direction::Compensate) => Some(undo.action.clone()),
                _ => Some(action.clone()),
            };
        }
    }
    if let Some(failure) = failures::failure(definition, state, errors, at) {
        // Where an ended saga failed is where people look for it.
        if row.step.is_none() {
            row.step.clone_from(&failure.step);
            row.direction = failure.direction.map(direction_number);
            let step = failure.step.as_deref().and_then(|name| definition.step(definition.find(name)?));
            row.worker = step.and_then(|step| words::work(&step.work).0);
        }
        if failure.counts {
            let (id, message) = failures::group(read.definition, &failure);
            row.failure = Some(id);
            row.failure_message = Some(message);
            row.failure_revision = i32::try_from(failure.revision).ok();
            row.failure_kind = Some(failure.kind);
            row.failure_direction = failure.direction.map(direction_number);
        }
        row.error_step = failure.step;
        row.error_code = Some(failure.code);
        row.error_message = Some(failure.message);
    }
    if let Some(parked) = parked_at(read)
        && let Some(it) = errors.iter().find(|it| i64::from(it.revision) == i64::from(parked))
    {
        row.since_ms = it.event.at.0;
    }
    row
}

/// The revision at which a parked saga was parked.
pub fn parked_at(read: &Read) -> Option<i32> {
    match &read.state.as_ref().ok()?.status {
        Status::Parked(parked) => i32::try_from(parked.revision).ok(),
        _ => None,
    }
}

/// A saga's start: the first 48 bits of its id.
pub fn started_ms(id: Uuid) -> i64 {
    i64::try_from(id.as_u64_pair().0 >> 16).unwrap_or(0)
}
