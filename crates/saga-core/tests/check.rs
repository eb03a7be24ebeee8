//! `check` proves what is right, refutes what is not with the shortest story, and says when it does not know.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use saga_core::check::{Beat, Depth, Limits, Property, Refutation, Report, Verdict, check};
use saga_core::definition::{Definition, load, load_to_explore};

fn must_load(text: &str) -> Definition {
    load(text).unwrap_or_else(|told| {
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", told.join("\n"))
    })
}

fn checked(text: &str) -> Report {
    check(&must_load(text), &[], Limits::default())
}

/// With every branch reduced from the start.
const REDUCED: Limits = Limits { states_max: 200_000, whole_max: 0, pairs_max: 100_000, ..Limits::DESK };

fn refuted(text: &str) -> Refutation {
    match checked(text).verdict {
        Verdict::Refuted(it) => it,
        other => panic!("{other:?}"),
    }
}

fn tell(story: &[Beat]) -> String {
    story.iter().map(|beat| format!("{}: {}\n", beat.happens, beat.follows.join("; "))).collect()
}

/// Tells the story when there is one: `tests/mutants/run` prints it.
fn assert_proved(name: &str, report: &Report) {
    if let Verdict::Refuted(it) = &report.verdict {
        panic!("refuted: {name}\nproperty: {}\n{}{}", it.property, tell(&it.story), it.message);
    }
    assert_eq!(report.verdict, Verdict::Proved, "{name}");
}

/// Small definitions that are right, each with something that the others do not have.
const RIGHT: [(&str, &str); 13] = [
    (
        "a chain",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], worker: w, action: a, compensation: u}\n  c: {after: [b], pivot: true, worker: w, action: a}\n  d: {after: [c], worker: w, action: a}\n",
    ),
    (
        "branches",
        "  a: {worker: w, action: a, compensation: u}\n  b: {worker: w, action: a, compensation: u}\n  c: {after: [a, b], pivot: true, worker: w, action: a}\n",
    ),
    (
        "one try",
        "  a: {worker: w, action: a, compensation: {action: u, retry: {attempts: 1}}, retry: {attempts: 1}}\n  b: {after: [a], worker: w, action: a, compensation: u}\n",
    ),
    (
        "conditions",
        "  a: {when: '${input.x == 1}', worker: w, action: a, compensation: u}\n  b: {after: [a], when: '${input.y == 1}', worker: w, action: a, compensation: u}\n  c: {after: [b], when: '${input.x == 1}', worker: w, action: a, compensation: u}\n",
    ),
    (
        "a list",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], foreach: '${input.items}', worker: w, action: a, compensation: u}\n",
    ),
    (
        "a list, and a notice of being parked",
        "  a: {foreach: '${input.items}', worker: w, action: a, compensation: u}\n  b: {after: [a], worker: w, action: a, compensation: u}\non_parked:\n  tell: {worker: w, action: t}\n",
    ),
    (
        "a signal",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {signal: paid, timeout: 5m}}\n  c: {after: [b], pivot: true, worker: w, action: a}\n",
    ),
    (
        "optional and parked",
        "  a: {optional: true, worker: w, action: a, compensation: u}\n  b: {after: [a], worker: w, action: a, compensation: u, on_rejected: park}\non_parked:\n  tell: {worker: w, action: t}\non_compensated:\n  told: {worker: w, action: t}\n",
    ),
    (
        "a child",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], saga: other}\n  c: {after: [b], worker: w, action: a, compensation: u}\n",
    ),
    (
        "an output that may not fit",
        "  a: {worker: w, action: a, compensation: u, output_schema: {type: object}}\n  b: {after: [a], worker: w, action: a, compensation: u}\n",
    ),
    (
        "an optional output that may not fit",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], optional: true, worker: w, action: a, compensation: none, output_schema: {type: object}}\n  c: {after: [b], pivot: true, worker: w, action: a, output_schema: {type: object}}\n  d: {after: [c], worker: w, action: a}\n",
    ),
    (
        "a signal that may not fit",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {signal: paid, timeout: 5m}, output_schema: {type: object}}\n  c: {after: [b], worker: w, action: a, compensation: u}\n",
    ),
    (
        "a sleep within the deadline",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {for: 5m}}\n  c: {after: [b], worker: w, action: a, compensation: u}\n",
    ),
];

fn whole(steps: &str) -> String {
    format!("saga: test\ndeadline: 10m\nsteps:\n{steps}")
}

#[test]
fn what_ships_is_proved_with_everything_combined() {
    let mut files = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../saga-defs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        // Parallel branches that all may be skipped are too many to combine.
        let branches = path.ends_with("order-with-coupon-and-points.yaml");
        let limits = if branches { REDUCED } else { Limits::default() };
        let report = check(&must_load(&fs::read_to_string(&path).unwrap()), &[], limits);
        let told = format!("{}: {} states, {:?}", path.display(), report.states, report.depth);
        assert_proved(&told, &report);
        assert!(report.states > 100, "{told}");
        assert_eq!(report.depth == Depth::Whole, !branches, "{told}");
        files += 1;
    }
    assert!(files >= 6, "{files}");
}

#[test]
fn every_part_of_the_language_is_explored_in_both_ways_with_one_verdict() {
    for (name, steps) in RIGHT {
        let definition = must_load(&whole(steps));
        let all = check(&definition, &[], Limits::default());
        assert_proved(name, &all);
        assert_eq!(all.depth, Depth::Whole, "{name}");
        let reduced = check(&definition, &[], REDUCED);
        assert_proved(name, &reduced);
        assert_eq!(reduced.depth, Depth::Troubles(2), "{name}");
        assert!(reduced.states <= all.states, "{name}: {} of {}", reduced.states, all.states);
    }
}

#[test]
fn a_step_behind_a_condition_that_is_never_true_is_not_reached() {
    let it = refuted(&whole(
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], when: '${1 > 2}', worker: w, action: a, compensation: u}\n",
    ));
    assert_eq!(it.property, Property::Reachable);
    assert_eq!(it.message, "no run reaches `b`: its `when` reads nothing, and is never true");
}

#[test]
fn a_step_behind_a_sleep_longer_than_the_deadline_is_not_reached() {
    let it = refuted(&whole(
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {for: 6m}}\n  c: {after: [b], wait: {for: 4m}}\n  d: {after: [c], worker: w, action: a, compensation: u}\n",
    ));
    assert_eq!(it.property, Property::Reachable);
    assert_eq!(it.message, "no run reaches `d`: the deadline passes while the saga waits before it");
    // Without a deadline, or skipped, the sleep is no obstacle.
    let steps = "  a: {when: '${input.slow}', wait: {for: 20m}}\n  b: {after: [a], worker: w, action: a, compensation: u}\n";
    assert_eq!(checked(&whole(steps)).verdict, Verdict::Proved);
    assert_eq!(checked(&whole(steps).replace("deadline: 10m\n", "")).verdict, Verdict::Proved);
}

#[test]
fn a_child_with_a_pivot_cannot_stand_where_it_may_have_to_be_undone() {
    let parent = must_load(&whole(
        "  a: {saga: shipping}\n  b: {after: [a], worker: w, action: a, compensation: u}\n",
    ));
    let child = must_load("saga: shipping\nsteps:\n  hand_over: {pivot: true, worker: w, action: a}\n");
    let Verdict::Refuted(it) = check(&parent, &[&child], Limits::default()).verdict else { panic!() };
    assert_eq!(it.property, Property::Undone);
    assert_eq!(
        tell(&it.story),
        "the saga starts: starts a (saga shipping)\n\
         a (saga shipping) succeeded: sends b (w.a)\n\
         b (w.a) is rejected: the saga turns around; undoes a (undo saga shipping)\n"
    );
    assert_eq!(check(&parent, &[], Limits::default()).verdict, Verdict::Proved);
    // Where it is the last, it stands as well once the parent is a child itself, and is undone.
    let last = must_load(&whole(
        "  b: {worker: w, action: a, compensation: u}\n  a: {after: [b], saga: shipping}\n",
    ));
    let Verdict::Refuted(it) = check(&last, &[&child], Limits::default()).verdict else { panic!() };
    assert_eq!((it.property, it.story.len()), (Property::Undone, 4));
    assert!(
        tell(&it.story).contains("the saga is a child, and its parent has it undone: "),
        "{}",
        tell(&it.story)
    );
    let fine = must_load(&whole(
        "  b: {worker: w, action: a, compensation: u}\n  a: {after: [b], pivot: true, saga: shipping}\n",
    ));
    assert_eq!(check(&fine, &[&child], Limits::default()).verdict, Verdict::Proved);
}

#[test]
fn an_optional_step_says_what_undoes_it_as_every_other_one() {
    let text = whole(
        "  a: {optional: true, worker: w, action: a}\n  b: {after: [a], worker: w, action: a, compensation: u}\n",
    );
    let told = load(&text).map(|it| it.name).unwrap_err();
    assert_eq!(told.iter().map(|it| it.code).collect::<Vec<_>>(), ["E011"]);
    let Verdict::Refuted(it) = check(&load_to_explore(&text).unwrap(), &[], Limits::default()).verdict else {
        panic!()
    };
    assert_eq!(
        (it.property, it.message.contains("`a` took effect") || it.message.contains("`a` may have")),
        (Property::Undone, true)
    );
    // What was published before is not kept from being loaded.
    assert!(saga_core::definition::load_published(&text).is_ok());
}

#[test]
fn what_cannot_be_undone_before_the_pivot_is_refused_with_a_story() {
    let text = whole(
        "  a: {worker: w, action: a}\n  b: {after: [a], worker: w, action: a, compensation: u}\n  c: {after: [b], pivot: true, worker: w, action: a}\n",
    );
    let told = load(&text).map(|it| it.name).unwrap_err();
    assert_eq!(told.iter().map(|it| it.code).collect::<Vec<_>>(), ["E011"]);
    let Verdict::Refuted(it) = check(&load_to_explore(&text).unwrap(), &[], Limits::default()).verdict else {
        panic!()
    };
    assert_eq!(it.property, Property::Undone);
    assert_eq!(
        tell(&it.story),
        "the saga starts: sends a (w.a)\n\
         a (w.a) answers: try again, and its budget is spent: the saga turns around; the saga is compensated\n"
    );
    assert_eq!(it.message, "the saga ends compensated, and `a` may have taken effect and stands");
}

#[test]
fn a_cap_that_is_reached_proves_nothing() {
    let steps: String =
        (0..8).map(|n| format!("  s{n}: {{worker: w, action: a, compensation: u}}\n")).collect();
    let definition = must_load(&whole(&steps));
    let report =
        check(&definition, &[], Limits { states_max: 500, whole_max: 500, pairs_max: 500, ..Limits::DESK });
    assert_eq!(report.verdict, Verdict::Unproved);
    assert!(report.states > 500 && report.states < 5_000);
}

/// Steps without predecessors, each with a condition or list of its own.
fn free_roots(count: usize, free: &str) -> Definition {
    let root = |n| format!("  s{n}: {{{free}: '${{input.f{n}}}', worker: w, action: a, compensation: u}}\n");
    must_load(&whole(&(0..count).map(root).collect::<String>()))
}

#[test]
fn a_cap_holds_within_one_transition_too() {
    // A million ways for the conditions, and three thousand million for the lists: all of them at the start.
    for free in ["when", "foreach"] {
        let definition = free_roots(20, free);
        let report = check(
            &definition,
            &[],
            Limits { states_max: 2_000, whole_max: 500, pairs_max: 1_000, ..Limits::DESK },
        );
        assert_eq!(report.verdict, Verdict::Unproved, "{free}");
        assert!((2_001..2_010).contains(&report.states), "{free}: {}", report.states);
    }
}

/// Twenty steps, of which five run side by side.
fn twenty_steps() -> Definition {
    let mut steps = String::new();
    let mut step = |name: &str, after: &str, more: &str| {
        steps += &format!("  {name}: {{after: [{after}], worker: w, action: a{more}}}\n");
    };
    let undone = ", compensation: u";
    step("open", "", undone);
    for (name, after) in [("look", "open"), ("price", "look"), ("hold", "price")] {
        step(name, after, undone);
    }
    for branch in ["a", "b", "c", "d", "e"] {
        step(branch, "hold", undone);
    }
    for (name, after) in [("join", "a, b, c, d, e"), ("pack", "join"), ("weigh", "pack"), ("label", "weigh")]
    {
        step(name, after, undone);
    }
    step("decide", "label", ", pivot: true");
    for (name, after) in [("bill", "decide"), ("ship", "bill"), ("file", "ship"), ("count", "file")] {
        step(name, after, "");
    }
    step("tell", "count", ", optional: true");
    step("thank", "count", ", optional: true");
    must_load(&whole(&steps))
}

#[test]
fn twenty_steps_with_parallel_branches_are_proved_within_the_usual_bounds() {
    let definition = twenty_steps();
    assert_eq!(definition.steps().count(), 20);
    let report = check(&definition, &[], Limits::default());
    assert_proved("twenty steps", &report);
    // Too many to combine whole, and not too many with any two in trouble.
    assert_eq!(report.depth, Depth::Troubles(2));
    assert!((30_000..120_000).contains(&report.states), "{} states", report.states);
}

#[test]
fn more_ways_of_one_move_than_are_told_apart_prove_nothing() {
    let limits = Limits { states_max: 1_000_000, whole_max: 1_000_000, pairs_max: 1_000_000, ..Limits::DESK };
    let report = check(&free_roots(17, "when"), &[], limits);
    assert_eq!((report.verdict, report.states), (Verdict::Unproved, 65_537));
}

#[test]
fn a_saga_that_can_never_complete_is_refuted() {
    let cases = [
        // Each step is begun, and the deadline passes while the last one waits.
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {for: 9m}}\n  c: {after: [b], wait: {for: 9m}}\n",
        "  a: {worker: w, action: a, compensation: u}\n  b: {after: [a], wait: {for: 9m}}\n  c: {after: [b], wait: {for: 1m}}\n",
    ];
    for steps in cases {
        let Verdict::Refuted(it) = check(&must_load(&whole(steps)), &[], Limits::default()).verdict else {
            panic!("{steps}")
        };
        assert_eq!(it.property, Property::Reachable);
        assert_eq!(it.message, "no run completes: the deadline passes while the saga waits");
    }
}

const STAY: &str = "saga: stay\ninput: {type: object, required: [id, nights], additionalProperties: false, properties: {id: {type: string}, nights: {type: integer}, guests: {type: array, items: {type: object, required: [name]}}}}\nsteps:\n  room: {worker: w, action: a, compensation: u}\noutput: {room: '${steps.room.output.number}'}\n";

#[test]
fn a_child_that_can_never_start_or_never_yields_what_is_read_is_refuted() {
    let stay = must_load(STAY);
    let input = "input: {type: object, required: [id, n, who, more], properties: {id: {type: string}, n: {type: integer}, who: {type: string}, more: {type: object, additionalProperties: false, properties: {id: {type: string}}}}}\n";
    let verdict = |steps: &str| {
        let text = format!("saga: trip\n{input}steps:\n{steps}");
        check(&must_load(&text), &[&stay], Limits::default()).verdict
    };
    let stays = |given: &str| format!("  s: {{saga: stay, input: {given}}}\n");
    for (given, why) in [
        ("{id: '${input.id}', nigths: '${input.n}'}", "it takes no `input.nigths`"),
        ("{id: '${input.id}'}", "it takes no `input` without `nights`"),
        ("{id: '${input.n}', nights: 1}", "`input.id` is a number, and it takes a string"),
        ("{id: 'of ${input.n}', nights: many}", "`input.nights` is a string, and it takes a number"),
        (
            "{id: a, nights: 1, guests: [{name: kim}, {nmae: lee}]}",
            "it takes no `input.guests[1]` without `name`",
        ),
        ("'${input.more}'", "it takes no `input` without `nights`"),
        ("null", "it takes no `input` without `id`"),
        ("[1]", "`input` is a list, and it takes an object"),
    ] {
        let Verdict::Refuted(it) = verdict(&stays(given)) else { panic!("{given}") };
        assert_eq!(it.property, Property::Reachable);
        assert_eq!(it.message, format!("`s` can never start `stay`: {why}"));
    }
    let fine = stays("{id: '${input.id}', nights: '${input.n}', guests: [{name: '${input.who}', age: 7}]}");
    let reads = |what: &str| {
        format!("{fine}  b: {{after: [s], worker: w, action: a, compensation: u, input: '{what}'}}\n")
    };
    let asked = "${has(steps.s.output.floor) ? steps.s.output.floor : 1}";
    let nullable = fine.replace("{saga: stay,", "{saga: stay, output_schema: {required: [room]},");
    for right in
        [fine.clone(), reads("${steps.s.output.room}"), reads("${steps.s.output}"), reads(asked), nullable]
    {
        assert_eq!(verdict(&right), Verdict::Proved, "{right}");
    }
    let Verdict::Refuted(it) = verdict(&reads("${steps.s.output.rooms}")) else { panic!() };
    assert!(
        it.message
            .starts_with("`b` reads what a child saga never yields: there is no `steps.s.output.rooms`"),
        "{}",
        it.message
    );
    let promised =
        fine.replace("{saga: stay,", "{saga: stay, output_schema: {type: object, required: [floor]},");
    let Verdict::Refuted(it) = verdict(&promised) else { panic!() };
    assert_eq!(it.message, "`s` never fits its output_schema: its child saga yields no `floor`");
    // Nothing is known of one that is not there.
    let text = format!("saga: trip\n{input}steps:\n{}", stays("{}"));
    assert_eq!(check(&must_load(&text), &[], Limits::default()).verdict, Verdict::Proved);
}

#[test]
fn work_has_a_bound_of_its_own() {
    let steps: String =
        (0..60).map(|n| format!("  s{n}: {{worker: w, action: a, compensation: u}}\n")).collect();
    let report = check(&must_load(&whole(&steps)), &[], Limits { work_max: 100_000, ..Limits::DOOR });
    assert_eq!(report.verdict, Verdict::Unproved);
    assert!(report.states < 5_000, "{} states", report.states);
}

/// What a child waits is waited by its parent as well.
#[test]
fn a_child_that_waits_beyond_its_parents_deadline_is_refuted() {
    let child = |steps: &str| must_load(&format!("saga: slow\nsteps:\n{steps}"));
    let slow = child("  w: {wait: {for: 40m}}\n  x: {after: [w], wait: {for: 20m}}\n");
    let verdict = |slow: &_, steps: &str| {
        let text = format!("saga: trip\ndeadline: 1h\nsteps:\n{steps}");
        check(&must_load(&text), &[slow], Limits::default()).verdict
    };
    let straight = "  s: {saga: slow}\n";
    let Verdict::Refuted(it) = verdict(&slow, straight) else { panic!() };
    assert_eq!(it.property, Property::Reachable);
    assert_eq!(it.message, "`s` is never done before the deadline: its child saga `slow` still waits");
    let short =
        child("  w: {wait: {for: 30m}}\n  x: {after: [w], when: '${has(input.x)}', wait: {for: 3h}}\n");
    let twice = "  w: {wait: {for: 30m}}\n  s: {after: [w], saga: slow}\n";
    assert!(matches!(verdict(&short, twice), Verdict::Refuted(_)));
    for fine in [
        straight,
        "  s: {saga: slow}\n  w: {wait: {for: 30m}}\n",
        "  p: {pivot: true, worker: w, action: a}\n  s: {after: [p], saga: slow}\n",
    ] {
        assert_eq!(verdict(&short, fine), Verdict::Proved, "{fine}");
    }
    let Verdict::Refuted(it) = verdict(
        &short,
        "  s: {saga: slow}\n  w: {after: [s], wait: {for: 30m}}\n  a: {after: [w], worker: w, action: a, compensation: u}\n",
    ) else {
        panic!()
    };
    assert_eq!(it.message, "`w` is never done before the deadline: the child sagas before it wait as well");
    // Once it is sent, a pivot has met the deadline; and what is late before a child begins is not its fault.
    let pivot = "  s: {pivot: true, saga: slow}\n  n: {after: [s], worker: w, action: a}\n";
    assert_eq!(verdict(&slow, pivot), Verdict::Proved);
    let Verdict::Refuted(it) = verdict(&short, "  w: {wait: {for: 2h}}\n  s: {after: [w], saga: slow}\n")
    else {
        panic!()
    };
    assert_eq!(it.message, "no run reaches `s`: the deadline passes while the saga waits before it");
}

/// Who asks with `in` is as ready for what a child does not yield as who asks with `has`.
#[test]
fn a_parent_may_ask_for_what_its_child_may_not_yield() {
    let kid =
        must_load("saga: kid\nsteps:\n  a: {worker: w, action: a, compensation: u}\noutput: {room: 1}\n");
    for asked in [
        "${has(steps.s.output.no) ? steps.s.output.no : 1}",
        "${'tracking-no' in steps.s.output ? steps.s.output['tracking-no'] : 1}",
    ] {
        let text = format!(
            "saga: par\nsteps:\n  s: {{saga: kid}}\n  b: {{after: [s], worker: w, action: a, compensation: u, input: {{v: \"{asked}\"}}}}\n"
        );
        let verdict = check(&must_load(&text), &[&kid], Limits::default()).verdict;
        assert_eq!(verdict, Verdict::Proved, "{asked}");
    }
}
