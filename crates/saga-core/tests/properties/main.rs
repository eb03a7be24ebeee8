//! Properties over random definitions, workers, orders of events, losses, duplicates and operators.
//!
//! A run has two halves: chaos, in which messages are lost, repeated and reordered, time jumps and holds come and
//! go; then calm, in which everything still in the air arrives and time passes. In calm every saga must end or be
//! parked. proptest prints the smallest counter-example and keeps its seed beside this file.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod definitions;
mod run;
mod world;

use proptest::prelude::*;
use saga_core::{Event, Payloads, Run, State, Status, step};

use self::definitions::{Spec, specs};
use self::run::{Chaos, chaos, play};
use crate::support::{START_MS, Saga};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Never `Illegal`; it always ends or parks with a reason; what took effect is undone if and only if the saga is
    /// compensated, once each, dependents first; nothing is undone after the pivot; one unwind; nothing stuck.
    #[test]
    fn a_saga_ends_or_parks_and_the_books_balance(spec in specs(), chaos in chaos(false)) {
        let (saga, world) = play(&spec, &chaos);
        prop_assert!(saga.turns() <= 1);
        world.check_end(&saga);
        let operated = |it: &String| !it.contains(":signal_") && !it.ends_with(":succeeded_after_end");
        prop_assert!(!saga.state.anomalies.iter().any(operated), "{:?}", saga.state.anomalies);
        folds(&spec, &saga);
    }

    /// The same with operators who retry, skip, mark, cancel and abandon at any moment: what stays uncompensated was
    /// acknowledged, and late truth about it is an anomaly.
    #[test]
    fn operators_leave_no_truth_ignored(spec in specs(), chaos in chaos(true)) {
        let (saga, world) = play(&spec, &chaos);
        world.check_truth(&saga);
        folds(&spec, &saga);
    }
}

/// What history keeps folds to the state that was reached: through JSON, from the start.
fn folds(spec: &Spec, saga: &Saga) {
    let definition = spec.definition();
    let mut state = State::new(saga_core::Millis(START_MS), None, None);
    let mut payloads = Payloads::new(saga.payloads.saga, saga.payloads.input.clone());
    for (event, transition) in &saga.history {
        if !transition.changed(&state) {
            continue;
        }
        let mut recorded: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
        recorded.set_payload(transition.payload.clone());
        let folded = step(&definition, &state, &recorded, &payloads).unwrap();
        assert_eq!(&folded, transition);
        payloads.take_in(&folded);
        state = serde_json::from_str(&serde_json::to_string(&folded.state).unwrap()).unwrap();
    }
    assert_eq!(state, saga.state);
}

/// The properties are worth something only if the runs reach every end.
#[test]
fn the_runs_reach_every_end() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let mut seen = std::collections::BTreeMap::new();
    for nth in 0..400u32 {
        let spec = specs().new_tree(&mut runner).unwrap().current();
        let chaos: Chaos = chaos(nth.is_multiple_of(2)).new_tree(&mut runner).unwrap().current();
        let (saga, _) = play(&spec, &chaos);
        let word = match &saga.state.status {
            Status::Parked(parked) => format!("{:?}", parked.why),
            status => status.word().to_owned(),
        };
        *seen.entry(word).or_insert(0) += 1;
        for cell in &saga.state.cells {
            let unwound = cell.undo.as_ref().is_some_and(|undo| undo.run == Run::Succeeded);
            *seen.entry(format!("{:?} undone: {unwound}", cell.execute.run)).or_insert(0) += 1;
        }
    }
    println!("{seen:#?}");
    for end in [
        "completed",
        "compensated",
        "abandoned",
        "Rejected",
        "Exhausted",
        "PivotUnsettled",
        "CompensationFailed",
        "Undecidable",
        "Sent undone: true",
        "Unknown undone: true",
        "Backoff undone: true",
        "Succeeded undone: true",
        "Exhausted undone: true",
    ] {
        assert!(seen.contains_key(end), "no run reached {end}: {seen:#?}");
    }
}
