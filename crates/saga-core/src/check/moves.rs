//! What can happen next in a world, and the event that it is to the saga.
//!
//! Owns the enumeration. Some moves must change nothing whatever the state: duplicates, late copies, and timeouts that
//! fall due while the log is not read or the worker has not reached the command; they are here so that the laws can
//! say so of every state.

use saga_protocol::{Direction, Outcome, SagaId};

use super::model::{self, Model};
use super::world::{ATTEMPT, Final, LATER, NOW, World};
use crate::definition::{StepIx, Turn, Work};
use crate::event::{Answer, ChildEnded, Due, Event, Operator, OperatorAction, Signal, What};
use crate::state::{CellRef, Parent, Phase, Run, State, Status};

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Start,
    /// A worker's answer arrives.
    Answer(CellRef, Reply),
    /// A track falls due, and its budget is spent by it or not.
    Due {
        at: CellRef,
        spent: bool,
    },
    Deadline,
    /// Everything falls due at once.
    AllDue {
        spent: bool,
    },
    /// A signal comes, by its place in the model, with what was promised or with something else.
    Signal {
        at: usize,
        unfit: bool,
    },
    Cancel,
    /// The saga is a child that has completed, and its parent is undone.
    ParentUndoes,
    LogLost,
    /// Must change nothing.
    Idle(Idle),
}

/// What a worker can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Final(Final),
    /// To be tried again; the budget is spent by it or not.
    Retryable {
        spent: bool,
    },
    /// To be tried again, the worker's own trouble.
    Uncharged,
    Undecidable,
}

/// What must change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// A final answer once more.
    Again(CellRef, Final),
    /// `retryable` to an attempt that is not the newest.
    Stale(CellRef),
    /// `undecidable` to an attempt that is not the newest.
    StaleUndecidable(CellRef),
    /// A success of an attempt that was never sent.
    Unsent(CellRef),
    /// A success of a round that was never opened.
    OtherRound(CellRef),
    /// Timeouts and the deadline are due, and the log was not read that far.
    NotCaughtUp,
    /// Timeouts are due, and the workers have not reached the commands.
    Queued,
    /// The deadline has passed, and has no say any more.
    DeadlineOver,
}

impl Idle {
    /// The track that hears of it, if it is about one.
    pub(super) const fn cell(self) -> Option<CellRef> {
        match self {
            Self::Again(at, _)
            | Self::Stale(at)
            | Self::StaleUndecidable(at)
            | Self::Unsent(at)
            | Self::OtherRound(at) => Some(at),
            Self::NotCaughtUp | Self::Queued | Self::DeadlineOver => None,
        }
    }
}

/// Everything that can happen in a world.
pub(super) fn all(model: &Model, world: &World) -> Vec<Move> {
    if world.state.revision == 0 {
        return vec![Move::Start];
    }
    let mut moves = Vec::new();
    // Good news first: of two stories that are equally short the plainer one is found.
    answers(model, world, &mut moves);
    if !world.state.status.is_end() {
        dues(model, world, &mut moves);
        if world.state.deadline.is_some() {
            let counts = deadline_counts(&world.state);
            moves.push(if counts { Move::Deadline } else { Move::Idle(Idle::DeadlineOver) });
        }
        moves.push(Move::Cancel);
        moves.push(Move::LogLost);
    } else if world.state.status == Status::Completed {
        moves.push(Move::ParentUndoes);
    }
    for (at, &come) in world.signals.iter().enumerate() {
        let waits = model.signals.get(at).map_or(0, |name| waits(model, name));
        if usize::from(come) <= waits {
            moves.push(Move::Signal { at, unfit: false });
            if model.signals.get(at).is_some_and(|name| model.signal_may_be_unfit(name)) {
                moves.push(Move::Signal { at, unfit: true });
            }
        }
    }
    moves
}

/// The moves of one track, good news first.
fn answers(model: &Model, world: &World, moves: &mut Vec<Move>) {
    let ended = world.state.status.is_end();
    for (cell, row) in world.state.cells.iter().zip(&world.rows) {
        let Some(step) = model.step(cell.step) else { continue };
        let child = matches!(step.work, Work::Child { .. });
        for direction in [Direction::Execute, Direction::Compensate] {
            let at = CellRef { step: cell.step, item: cell.item, direction };
            let entry = row.entry(direction);
            let Some(track) = world.state.track(at).filter(|_| entry.sent) else { continue };
            let mut push = |reply| moves.push(Move::Answer(at, reply));
            let open = track.run.is_open() || (child && track.run == Run::Waiting);
            match entry.told {
                None => {
                    let stuck = direction == Direction::Compensate
                        && model.facts(cell.step).is_some_and(|it| it.final_child)
                        && row.execute.told != Some(Final::Rejected);
                    if !stuck {
                        push(Reply::Final(Final::Succeeded));
                        if direction == Direction::Execute && model.may_be_unfit(at.step) {
                            push(Reply::Final(Final::Unfit));
                        }
                        if !(child && direction == Direction::Compensate) {
                            push(Reply::Final(Final::Rejected));
                        }
                    }
                    if open && !child {
                        if !model.tried_once(at.step, direction) {
                            push(Reply::Retryable { spent: false });
                        }
                        push(Reply::Retryable { spent: true });
                        push(Reply::Uncharged);
                    }
                    if open {
                        push(Reply::Undecidable);
                    }
                    if !ended && !child {
                        moves.push(Move::Idle(Idle::Stale(at)));
                        moves.push(Move::Idle(Idle::StaleUndecidable(at)));
                        moves.push(Move::Idle(Idle::Unsent(at)));
                        moves.push(Move::Idle(Idle::OtherRound(at)));
                    }
                }
                // A child's end is committed once, under an id of its own.
                Some(_) if child => {}
                Some(told) => moves.push(Move::Idle(Idle::Again(at, told))),
            }
        }
    }
}

fn dues(model: &Model, world: &World, moves: &mut Vec<Move>) {
    let (mut due, mut timeouts, mut silent) = (0, false, false);
    for (at, track) in world.state.tracks().filter(|(_, track)| track.due.is_some()) {
        timeouts |= waits_for_others(model, at, track.run);
        silent |= matches!(track.run, Run::Sent | Run::Unknown);
        if !may_end(model, world, at) {
            continue;
        }
        due += 1;
        let charged = matches!(track.run, Run::Sent | Run::Unknown);
        if charged {
            moves.push(Move::Due { at, spent: true });
        }
        if !charged || !model.tried_once(at.step, at.direction) {
            moves.push(Move::Due { at, spent: false });
        }
    }
    if due > 1 {
        moves.extend([Move::AllDue { spent: false }, Move::AllDue { spent: true }]);
    }
    if timeouts {
        moves.push(Move::Idle(Idle::NotCaughtUp));
    }
    if silent {
        moves.push(Move::Idle(Idle::Queued));
    }
}

fn waits(model: &Model, signal: &str) -> usize {
    let waits = |work: &Work| matches!(work, Work::Signal { name } if name == signal);
    model.definition.steps.iter().filter(|step| waits(&step.work)).count()
}

/// Whether a due track waits for somebody else, and not for time alone.
fn waits_for_others(model: &Model, at: CellRef, run: Run) -> bool {
    let sleeps = model.step(at.step).is_some_and(|step| matches!(step.work, Work::Sleep { .. }));
    matches!(run, Run::Sent | Run::Unknown) || (run == Run::Waiting && !sleeps)
}

/// Whether the deadline has a say.
pub(super) fn deadline_counts(state: &State) -> bool {
    match (&state.status, &state.phase) {
        (Status::Running, Phase::Forward | Phase::PivotOpen { stop: None }) => true,
        (Status::Parked(parked), Phase::Forward) => parked.why.obeys_deadline(),
        _ => false,
    }
}

/// Whether a sleep can end before the deadline has turned the saga around. One that is parked may sleep longer, but
/// nothing is reached by that: its deadline passes as soon as it goes on.
fn may_end(model: &Model, world: &World, at: CellRef) -> bool {
    let sleeps = model.step(at.step).is_some_and(|step| matches!(step.work, Work::Sleep { .. }));
    let Some(deadline_ms) =
        model.definition.deadline_ms.filter(|_| sleeps && world.state.phase == Phase::Forward)
    else {
        return true;
    };
    asleep_ms(model, world, at.step) < deadline_ms
}

/// How long a saga has slept at least once a step is done.
fn asleep_ms(model: &Model, world: &World, ix: StepIx) -> i64 {
    let Some(step) = model.step(ix) else { return 0 };
    let before = step.after.iter().map(|&ix| asleep_ms(model, world, ix)).max().unwrap_or(0);
    let slept = world.state.cell(ix, None).is_none_or(|cell| cell.execute.run != Run::Skipped);
    match step.work {
        Work::Sleep { for_ms } if slept && step.turn == Turn::Graph => before.saturating_add(for_ms),
        _ => before,
    }
}

/// The state and the event by which a move happens: whatever is to fall due is made due now.
pub(super) fn event(model: &Model, world: &World, it: Move) -> (State, Event) {
    let mut state = world.state.clone();
    let what = match it {
        Move::Start => What::Start,
        Move::Answer(at, reply) => answer_to(model, world, &mut state, at, reply),
        Move::Due { at, spent } => {
            make_due(model, &mut state, spent, |it, _| it == at);
            What::Due(Due { caught_up: true, queued: Vec::new() })
        }
        Move::Deadline => {
            state.deadline = Some(NOW);
            What::Due(Due { caught_up: true, queued: Vec::new() })
        }
        Move::AllDue { spent } => {
            make_due(model, &mut state, spent, |at, _| may_end(model, world, at));
            What::Due(Due { caught_up: true, queued: Vec::new() })
        }
        Move::Signal { at, unfit } => {
            let name = model.signals.get(at).cloned().unwrap_or_default();
            What::Signal(Signal { name, payload: unfit.then(model::unfit), ttl_ms: LATER.0 })
        }
        Move::Cancel => {
            let (who, why) = (String::new(), String::new());
            let action = OperatorAction::Compensate;
            What::Operator(Operator { who, why, revision: state.revision, action })
        }
        Move::ParentUndoes => {
            let saga = SagaId(uuid::Uuid::nil());
            state.parent = Some(Parent { saga, step: StepIx(0), item: None, round: 1 });
            What::ParentCompensates
        }
        Move::LogLost => What::LogLost,
        Move::Idle(idle) => idle_event(model, &mut state, idle),
    };
    (state, Event::new(NOW, 0, what))
}

fn idle_event(model: &Model, state: &mut State, idle: Idle) -> What {
    match idle {
        Idle::Again(at, told) => with_output(answer(model, at, outcome_of(told), 1, 1), told),
        Idle::Stale(at) => answer(model, at, Outcome::Retryable, 1, ATTEMPT - 1),
        Idle::StaleUndecidable(at) => answer(model, at, Outcome::Undecidable, 1, ATTEMPT - 1),
        Idle::Unsent(at) => answer(model, at, Outcome::Succeeded, 1, ATTEMPT + 1),
        Idle::OtherRound(at) => answer(model, at, Outcome::Succeeded, 2, 1),
        Idle::NotCaughtUp => {
            make_due(model, state, true, |at, run| waits_for_others(model, at, run));
            state.deadline = state.deadline.map(|_| NOW);
            What::Due(Due::default())
        }
        Idle::DeadlineOver => {
            state.deadline = Some(NOW);
            What::Due(Due { caught_up: true, queued: Vec::new() })
        }
        Idle::Queued => {
            make_due(model, state, true, |_, run| matches!(run, Run::Sent | Run::Unknown));
            let queued = state.tracks().filter(|(_, track)| track.due == Some(NOW)).map(|(at, _)| at);
            What::Due(Due { caught_up: true, queued: queued.collect() })
        }
    }
}

fn make_due(model: &Model, state: &mut State, spent: bool, which: impl Fn(CellRef, Run) -> bool) {
    for cell in &mut state.cells {
        let (step, item) = (cell.step, cell.item);
        let tracks =
            [(Direction::Execute, Some(&mut cell.execute)), (Direction::Compensate, cell.undo.as_mut())];
        for (direction, track) in tracks {
            let at = CellRef { step, item, direction };
            if let Some(track) = track
                && track.due.is_some()
                && which(at, track.run)
            {
                track.due = Some(NOW);
                track.charged = charged(spent || model.tried_once(step, direction));
            }
        }
    }
}

/// What is to have been charged, so that the budget of two is spent now or not.
const fn charged(spent: bool) -> u32 {
    if spent { 2 } else { 1 }
}

fn answer_to(model: &Model, world: &World, state: &mut State, at: CellRef, reply: Reply) -> What {
    let spent = matches!(reply, Reply::Retryable { spent: true });
    if let Some(cell) = state.cells.iter_mut().find(|it| (it.step, it.item) == (at.step, at.item)) {
        let track = match at.direction {
            Direction::Execute => Some(&mut cell.execute),
            Direction::Compensate => cell.undo.as_mut(),
        };
        if let Some(track) = track {
            track.charged = charged(spent);
        }
    }
    let outcome = match reply {
        Reply::Final(told) => outcome_of(told),
        Reply::Retryable { .. } | Reply::Uncharged => Outcome::Retryable,
        Reply::Undecidable => Outcome::Undecidable,
    };
    // A final answer counts whichever attempt carried it.
    let attempt = if matches!(reply, Reply::Final(_)) { ATTEMPT - 1 } else { ATTEMPT };
    let round = world.state.track(at).map_or(1, |track| track.round);
    match answer(model, at, outcome, round, attempt) {
        What::Answer(answer) if reply == Reply::Uncharged => {
            What::Answer(Answer { uncharged: true, ..answer })
        }
        what => match reply {
            Reply::Final(told) => with_output(what, told),
            _ => what,
        },
    }
}

fn with_output(what: What, told: Final) -> What {
    let output = (told == Final::Unfit).then(model::unfit);
    match what {
        What::Answer(answer) => What::Answer(Answer { output, ..answer }),
        What::ChildEnded(child) => What::ChildEnded(ChildEnded { output, ..child }),
        other => other,
    }
}

const fn outcome_of(told: Final) -> Outcome {
    match told {
        Final::Succeeded | Final::Unfit => Outcome::Succeeded,
        Final::Rejected => Outcome::Rejected,
    }
}

fn answer(model: &Model, at: CellRef, outcome: Outcome, round: u32, attempt: u32) -> What {
    let Some(step) = model.step(at.step) else { return What::Hold };
    if matches!(step.work, Work::Child { .. }) {
        return What::ChildEnded(ChildEnded { cell: at, round, outcome, output: None, error: None });
    }
    What::Answer(Answer {
        step: step.name.clone(),
        item: at.item,
        direction: at.direction,
        round,
        attempt,
        outcome,
        output: None,
        oversized: false,
        error: None,
        uncharged: false,
        retry_after_ms: None,
    })
}
