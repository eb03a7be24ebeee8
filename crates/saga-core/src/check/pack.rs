//! A canonical world as a few bytes, so that millions of them fit into memory, and back.
//!
//! Owns the spelling. It must lose nothing of a canonical world.

use saga_protocol::Direction;

use super::model::Model;
use super::world::{ATTEMPT, Entry, Final, LATER, NOW, REVISION, Row, UNFIT, World};
use crate::command;
use crate::definition::StepIx;
use crate::state::{Cause, Cell, CellRef, EarlySignal, Parked, Phase, Run, State, Status, Track, Why};

const RUNS: [Run; 11] = [
    Run::Held,
    Run::Sent,
    Run::Unknown,
    Run::Backoff,
    Run::Waiting,
    Run::Succeeded,
    Run::Rejected,
    Run::Exhausted,
    Run::Undecidable,
    Run::Skipped,
    Run::GivenUp,
];
const WHYS: [Why; 10] = [
    Why::Rejected,
    Why::Exhausted,
    Why::PivotUnsettled,
    Why::CompensationFailed,
    Why::Undecidable,
    Why::OutputTooLarge,
    Why::OutputUnfit,
    Why::BadExpression,
    Why::Poison,
    Why::Illegal,
];
const NONE: u8 = u8::MAX;

fn place<T: PartialEq>(all: &[T], it: &T) -> u8 {
    all.iter().position(|other| other == it).and_then(|at| u8::try_from(at).ok()).unwrap_or(NONE)
}

/// Spells a canonical world.
pub(super) fn pack(world: &World, model: &Model) -> Box<[u8]> {
    let state = &world.state;
    let mut out = Vec::with_capacity(16 + state.cells.len() * 8);
    let (status, phase) = (status(&state.status), phase(&state.phase));
    out.extend([u8::from(state.revision > 0), status, phase, u8::from(state.deadline.is_some())]);
    if let Status::Parked(parked) = &state.status {
        out.push(place(&WHYS, &parked.why));
        match parked.cell {
            None => out.push(NONE),
            Some(at) => out.extend([
                narrow(at.step.0),
                item(at.item),
                u8::from(at.direction == Direction::Compensate),
            ]),
        }
    }
    out.push(narrow(state.early_signals.len()));
    for early in &state.early_signals {
        out.extend([place(&model.signals, &early.name), u8::from(early.revision == UNFIT)]);
    }
    out.push(narrow(state.anomalies.len()));
    for anomaly in &state.anomalies {
        out.push(narrow(anomaly.len()));
        out.extend(anomaly.bytes());
    }
    out.extend(world.values.iter().map(|value| value.unwrap_or(NONE)));
    out.extend(&world.signals);
    for (cell, row) in state.cells.iter().zip(&world.rows) {
        out.extend([narrow(cell.step.0), item(cell.item)]);
        out.extend(cell_key(cell, row));
    }
    out.into_boxed_slice()
}

/// A cell without its place, as bytes.
pub(super) fn cell_key(cell: &Cell, row: &Row) -> [u8; 7] {
    let execute = track(&cell.execute).to_le_bytes();
    let undo = cell.undo.as_ref().map_or([NONE; 3], |it| {
        let [a, b, c, _] = track(it).to_le_bytes();
        [a, b, c]
    });
    let entry = |it: &Entry| {
        let told = match it.told {
            None => 0,
            Some(Final::Succeeded) => 1,
            Some(Final::Rejected) => 2,
            Some(Final::Unfit) => 3,
        };
        u8::from(it.sent) << 2 | told
    };
    let [a, b, c, _] = execute;
    let [d, e, f] = undo;
    [a, b, c, d, e, f, entry(&row.execute) << 4 | entry(&row.undo)]
}

fn track(track: &Track) -> u32 {
    let flags = [
        track.attempt > 0,
        track.first_sent_at.is_some(),
        track.sent_at.is_some(),
        track.due.is_some(),
        track.input.is_some(),
        track.input_hash.is_some(),
        track.output.is_some(),
        track.unusable,
        track.waived,
    ];
    let flags = flags.iter().fold(0u32, |bits, &flag| bits << 1 | u32::from(flag));
    u32::from(place(&RUNS, &track.run)) << 16 | track.round.min(7) << 9 | flags
}

fn untrack(bits: u32) -> Track {
    let run = RUNS.get(usize::try_from(bits >> 16 & 0xff).unwrap_or(0)).copied().unwrap_or(Run::Held);
    let flag = |nth: u32| bits >> (8 - nth) & 1 == 1;
    Track {
        run,
        round: bits >> 9 & 7,
        attempt: if flag(0) { ATTEMPT } else { 0 },
        charged: 1,
        first_sent_at: flag(1).then_some(NOW),
        sent_at: flag(2).then_some(NOW),
        due: flag(3).then_some(LATER),
        budget_from: None,
        silent: u32::from(run == Run::Unknown),
        input: flag(4).then_some(REVISION),
        input_hash: flag(5).then(|| command::input_hash(&serde_json::Value::Null)),
        output: flag(6).then_some(REVISION),
        unusable: flag(7),
        waived: flag(8),
    }
}

/// Where a saga stands and which way it goes, as bytes.
pub(super) fn course(state: &State) -> [u8; 2] {
    [status(&state.status), phase(&state.phase)]
}

fn status(status: &Status) -> u8 {
    match status {
        Status::Running => 0,
        Status::Parked(_) => 1,
        Status::Completed => 2,
        Status::Compensated => 3,
        Status::Abandoned => 4,
    }
}

fn phase(phase: &Phase) -> u8 {
    match phase {
        Phase::Forward => 0,
        Phase::PivotOpen { stop: None } => 1,
        Phase::PivotOpen { stop: Some(_) } => 2,
        Phase::Committed => 3,
        Phase::Unwinding { .. } => 4,
    }
}

fn narrow(n: impl TryInto<u8>) -> u8 {
    n.try_into().unwrap_or(NONE)
}

fn item(item: Option<u32>) -> u8 {
    item.map_or(NONE, narrow)
}

/// Reads what [`pack`] wrote.
pub(super) fn unpack(bytes: &[u8], model: &Model) -> World {
    let mut bytes = bytes.iter().copied();
    let mut next = || bytes.next().unwrap_or(0);
    let (revision, status, phase, deadline) = (u32::from(next()), next(), next(), next() == 1);
    let status = match status {
        0 => Status::Running,
        1 => Status::Parked(unpark(&mut next)),
        2 => Status::Completed,
        3 => Status::Compensated,
        _ => Status::Abandoned,
    };
    let phase = match phase {
        0 => Phase::Forward,
        1 => Phase::PivotOpen { stop: None },
        2 => Phase::PivotOpen { stop: Some(Cause::Deadline) },
        3 => Phase::Committed,
        _ => Phase::Unwinding { cause: Cause::Deadline },
    };
    let early = (0..next()).map(|_| {
        let name = model.signals.get(usize::from(next())).cloned().unwrap_or_default();
        let revision = if next() == 1 { UNFIT } else { REVISION };
        EarlySignal { name, revision, expires: LATER }
    });
    let early_signals = early.collect();
    let anomalies = (0..next())
        .map(|_| {
            let text: Vec<u8> = (0..next()).map(|_| next()).collect();
            String::from_utf8_lossy(&text).into_owned()
        })
        .collect();
    let values = model.variables.iter().map(|_| Some(next()).filter(|&it| it != NONE)).collect();
    let signals = model.signals.iter().map(|_| next()).collect();
    let (mut cells, mut rows) = (Vec::new(), Vec::new());
    while let Some(step) = bytes.next() {
        let mut next = || bytes.next().unwrap_or(0);
        let item = Some(next()).filter(|&it| it != NONE).map(u32::from);
        let execute = untrack(u32::from_le_bytes([next(), next(), next(), 0]));
        let undo = [next(), next(), next()];
        let undo = (undo != [NONE; 3]).then(|| untrack(u32::from_le_bytes([undo[0], undo[1], undo[2], 0])));
        let row = next();
        let entry = |bits: u8| Entry {
            sent: bits >> 2 & 1 == 1,
            told: match bits & 3 {
                1 => Some(Final::Succeeded),
                2 => Some(Final::Rejected),
                3 => Some(Final::Unfit),
                _ => None,
            },
        };
        rows.push(Row { execute: entry(row >> 4), undo: entry(row) });
        cells.push(Cell { step: StepIx(u16::from(step)), item, execute, undo });
    }
    let deadline = deadline.then_some(LATER);
    let state = State {
        revision,
        status,
        phase,
        started: NOW,
        deadline,
        cells,
        early_signals,
        parent: None,
        anomalies,
    };
    World { state, rows, values, signals }
}

fn unpark(next: &mut impl FnMut() -> u8) -> Parked {
    let why = WHYS.get(usize::from(next())).copied().unwrap_or(Why::Illegal);
    let step = next();
    let cell = (step != NONE).then(|| {
        let item = Some(next()).filter(|&it| it != NONE).map(u32::from);
        let direction = if next() == 1 { Direction::Compensate } else { Direction::Execute };
        CellRef { step: StepIx(u16::from(step)), item, direction }
    });
    Parked { why, cell, revision: REVISION }
}
