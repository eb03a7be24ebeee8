//! One run: chaos, then calm.

use proptest::prelude::*;
use saga_core::event::{Due, Operator, Signal};
use saga_core::{CellRef, OperatorAction, Run, Status, StepIx, What};
use serde_json::json;
use std::sync::Arc;

use crate::definitions::Spec;
use crate::support::Saga;
use crate::world::World;

/// What is random in a run beside the definition.
#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    flag: bool,
    /// How workers behave.
    script: Vec<u8>,
    /// What happens: a kind, and which.
    deeds: Vec<(u8, u8)>,
    operators: bool,
}

pub(crate) fn chaos(operators: bool) -> impl Strategy<Value = Chaos> {
    let script = prop::collection::vec(any::<u8>(), 0..60);
    let deeds = prop::collection::vec(any::<(u8, u8)>(), 0..80);
    (any::<bool>(), script, deeds).prop_map(move |(flag, script, deeds)| Chaos {
        flag,
        script,
        deeds,
        operators,
    })
}

/// Plays a run to its end: everything delivered, and the saga ended or parked.
pub(crate) fn play(spec: &Spec, chaos: &Chaos) -> (Saga, World) {
    let lists: Vec<Vec<u8>> = (0..4).map(|len| (0..len).collect()).collect();
    let input = json!({
        "n": 1, "flag": chaos.flag,
        "list0": lists[0], "list1": lists[1], "list2": lists[2], "list3": lists[3],
    });
    let mut saga = Saga::new(spec.definition(), input);
    let mut world = World::new(&chaos.script, chaos.operators);
    saga.start();
    world.publish(&saga);
    for &(kind, which) in &chaos.deeds {
        deed(&mut saga, &mut world, kind, which, chaos.operators);
    }
    calm(&mut saga, &mut world);
    (saga, world)
}

fn happens(saga: &mut Saga, world: &mut World, what: What) {
    saga.happens(what);
    world.publish(saga);
}

fn deed(saga: &mut Saga, world: &mut World, kind: u8, which: u8, operators: bool) {
    let pick = |len: usize| usize::from(which) % len.max(1);
    let (commands, replies) = (world.commands.len(), world.replies.len());
    match kind % 32 {
        // Mostly messages arrive, in any order; some are repeated, some are lost.
        0..=7 if commands > 0 => {
            let (at, command) = world.commands.remove(pick(commands));
            world.work(&saga.definition, at, &command);
        }
        8 | 9 if commands > 0 => {
            let (at, command) = world.commands[pick(commands)].clone();
            world.work(&saga.definition, at, &command);
        }
        10 if commands > 0 => drop(world.commands.remove(pick(commands))),
        11..=18 if replies > 0 => {
            let answer = world.replies.remove(pick(replies));
            deliver(saga, world, answer);
        }
        19 if replies > 0 => {
            let answer = world.replies[pick(replies)].clone();
            deliver(saga, world, answer);
        }
        20 if replies > 0 => drop(world.replies.remove(pick(replies))),
        21..=24 => {
            let due = saga.due_at().unwrap_or(saga.now).clamp(saga.now, saga.now + 60_000);
            saga.now = due;
            let queued = if which.is_multiple_of(8) {
                saga.state.tracks().map(|(at, _)| at).collect()
            } else {
                Vec::new()
            };
            happens(saga, world, What::Due(Due { caught_up: !which.is_multiple_of(4), queued }));
        }
        25 => {
            saga.now += i64::from(which) * 200;
            happens(saga, world, What::Due(Due { caught_up: which.is_multiple_of(2), queued: Vec::new() }));
        }
        26 => happens(saga, world, What::LogLost),
        27 => {
            let steps = u16::try_from(saga.definition.steps.len()).unwrap();
            saga.held =
                if which.is_multiple_of(2) { vec![StepIx(u16::from(which / 2) % steps)] } else { Vec::new() };
            happens(saga, world, What::Hold);
        }
        28 => {
            let signal =
                Signal { name: "go".to_owned(), payload: Some(Arc::new(json!(which))), ttl_ms: 30_000 };
            happens(saga, world, What::Signal(signal));
        }
        29..=31 if operators => operate(saga, world, which),
        _ => {}
    }
}

/// An answer arrives; a second time it changes nothing.
fn deliver(saga: &mut Saga, world: &mut World, answer: saga_core::Answer) {
    world.tell(saga, &answer);
    happens(saga, world, What::Answer(answer.clone()));
    let revision = saga.revision();
    let said = saga.happens(What::Answer(answer.clone()));
    assert_eq!(saga.revision(), revision, "a duplicate changed the saga: {answer:?} {said:?}");
    assert!(matches!(&said[..], [reason] if reason.starts_with("ignored")), "{said:?}");
}

fn operate(saga: &mut Saga, world: &mut World, which: u8) {
    let tracks: Vec<CellRef> = saga.state.tracks().map(|(at, _)| at).collect();
    let Some(&cell) = tracks.get(usize::from(which / 10) % tracks.len().max(1)) else { return };
    let undo = CellRef { direction: saga_protocol::Direction::Compensate, ..cell };
    let acknowledged = !which.is_multiple_of(3);
    let value = Some(Arc::new(json!({"v": 1, "n": 1})));
    let action = match which % 10 {
        0 => OperatorAction::Retry { cell: None },
        1 | 2 => OperatorAction::Retry { cell: Some(cell) },
        3 => OperatorAction::RetryEdited { cell, input: value },
        4 | 5 => OperatorAction::Skip { cell, output: value, acknowledged },
        6 => OperatorAction::Compensate,
        7 => OperatorAction::ResumeCompensation,
        8 => OperatorAction::MarkCompensated { cell: undo, evidence: "seen".to_owned(), acknowledged },
        _ if which > 230 => OperatorAction::Abandon { acknowledged },
        _ => OperatorAction::Compensate,
    };
    let revision = saga.revision();
    let (who, why) = ("mina".to_owned(), "chaos".to_owned());
    happens(saga, world, What::Operator(Operator { who, why, revision, action }));
}

/// Everything arrives, holds end and time passes, until nothing can happen any more.
fn calm(saga: &mut Saga, world: &mut World) {
    saga.held.clear();
    happens(saga, world, What::Hold);
    for _ in 0..2_000 {
        while !world.commands.is_empty() || !world.replies.is_empty() {
            for (at, command) in std::mem::take(&mut world.commands) {
                world.work(&saga.definition, at, &command);
            }
            for answer in std::mem::take(&mut world.replies) {
                deliver(saga, world, answer);
            }
        }
        let Some(due) = saga.due_at() else { break };
        saga.now = saga.now.max(due);
        happens(saga, world, What::Due(Due { caught_up: true, queued: Vec::new() }));
    }
    assert!(saga.due_at().is_none() && world.commands.is_empty(), "it never comes to rest: {:?}", saga.state);
    let ended = saga.state.status.is_end();
    assert!(ended || matches!(saga.state.status, Status::Parked(_)), "at rest and running: {:?}", saga.state);
    assert!(
        !saga.state.tracks().any(|(_, track)| track.run == Run::Waiting) || ended || is_parked_wait(saga)
    );
}

/// A parked saga may have waits that an unwind has left behind.
fn is_parked_wait(saga: &Saga) -> bool {
    saga.is_unwinding()
}
