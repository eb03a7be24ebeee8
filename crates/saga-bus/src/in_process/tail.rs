//! A reader of all partitions without a group. Owns its own positions; it must not hold back anything.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::group::MemberId;
use super::state::State;
use super::{RECORDS_PER_EVENT, Shared};
use crate::{BusError, From, Record, TopicPartition};

/// Starts the reader; it ends when the bus is closed or nobody reads it.
pub(super) fn start(
    shared: &Arc<Shared>,
    topic: &str,
    from: From,
    records: mpsc::Sender<Vec<Record>>,
) -> Result<(), BusError> {
    let mut state = shared.state.lock();
    state.open()?;
    let name: Arc<str> = topic.into();
    let mut positions = Vec::new();
    for partition in 0..state.topics.partitions(topic) {
        let at = TopicPartition { topic: name.clone(), partition: partition.cast_signed() };
        let Some(log) = state.topics.log(&at) else { continue };
        let bounds = log.watermarks();
        positions.push((at, if from == From::Earliest { bounds.low } else { bounds.high }));
    }
    if positions.is_empty() {
        return Err(BusError::NoTopic(topic.to_owned()));
    }
    let wake = Arc::new(Notify::new());
    let id = state.listen(&[name], &wake);
    drop(state);
    tokio::spawn(run(shared.clone(), id, wake, positions, records));
    Ok(())
}

async fn run(
    shared: Arc<Shared>,
    id: MemberId,
    wake: Arc<Notify>,
    mut positions: Vec<(TopicPartition, i64)>,
    records: mpsc::Sender<Vec<Record>>,
) {
    loop {
        let batch = {
            let state = shared.state.lock();
            if state.is_closed() {
                break;
            }
            read(&state, &mut positions)
        };
        if batch.is_empty() {
            tokio::select! {
                biased;
                () = wake.notified() => {}
                () = records.closed() => break,
            }
        } else if records.send(batch).await.is_err() {
            break;
        }
    }
    shared.state.lock().stop_listening(id);
}

fn read(state: &State, positions: &mut [(TopicPartition, i64)]) -> Vec<Record> {
    let mut batch = Vec::new();
    for (at, next) in positions {
        let Some(log) = state.topics.log(at) else { continue };
        let bounds = log.watermarks();
        if !(bounds.low..=bounds.high).contains(next) {
            // Fell behind, or the log is another one: what is there is all that can be had.
            *next = bounds.low;
        }
        if let Ok((read, after)) = log.read(*next, RECORDS_PER_EVENT.saturating_sub(batch.len())) {
            batch.extend(read);
            *next = after;
        }
    }
    batch
}
