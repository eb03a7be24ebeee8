//! What must be proved of a definition before it is published, or waived with a reason that is recorded.
//!
//! Owns the bound on that work and the words of the refusal. The proof itself is `saga_core::check`.

use std::sync::Arc;

use axum::http::StatusCode;
use saga_core::Definition;
use saga_core::check::{Beat, Limits, Property, Report, Verdict, check, final_children};
use saga_core::definition::misfit;
use tokio::sync::Semaphore;

use super::problem::{FaultAt, Problem};
use crate::engine::Engine;
use crate::store::definitions::{Proof, children_of};

/// A search takes a core for seconds; the engine needs the others.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);
/// The longest reason for a waiver, in characters.
const WAIVER_CHARS_MAX: usize = 1_000;

/// Proves a definition, unless a refusal is waived.
///
/// # Errors
/// When it is not proved and there is no waiver, or the waiver gives no reason.
pub async fn prove(
    engine: &Engine,
    definition: &Definition,
    waiver: Option<String>,
) -> Result<Proof, Problem> {
    if waiver.as_ref().is_some_and(|it| it.trim().is_empty() || it.chars().count() > WAIVER_CHARS_MAX) {
        return Err(Problem::bad_request("`waive` must say why, in at most 1,000 characters."));
    }
    let report = explore(engine, definition).await?;
    let troubles = report.depth.troubles();
    let mut verdict = word(&report.verdict);
    let mut refused = (report.verdict != Verdict::Proved).then(|| refusal(&report));
    // Those that start it were proved with what it was.
    if refused.is_none()
        && let Some(fault) = left_standing(engine, definition)
    {
        (verdict, refused) = ("refuted", Some(not_proved().errors(vec![fault])));
    }
    match (refused, waiver) {
        (None, _) => Ok(Proof { verdict, troubles, waiver: None }),
        (_, Some(waiver)) => Ok(Proof { verdict, troubles, waiver: Some(Arc::from(waiver.trim())) }),
        (Some(problem), None) => Err(problem),
    }
}

/// Which definition could no longer start this one as its child saga, or undo it.
fn left_standing(engine: &Engine, definition: &Definition) -> Option<FaultAt> {
    engine.definitions.all_in_use().iter().find_map(|parent| {
        let parent = &parent.definition;
        if !children_of(parent).any(|(_, child)| child == definition.name) {
            return None;
        }
        // One that does not go with the current version either is not kept waiting by this one.
        let current = engine.definitions.active(&definition.name);
        let fitted = current.is_none_or(|it| misfit(parent, &[&it.definition]).is_none());
        if let Some(why) = misfit(parent, &[definition]).filter(|_| fitted) {
            let detail = format!("`{}` starts it, and could no longer: {why}", parent.name);
            return Some(FaultAt { code: Some(Property::Reachable.word().to_owned()), detail, ..FaultAt::default() });
        }
        let (step, _) = *final_children(parent, &[definition]).first()?;
        Some(FaultAt {
            code: Some(Property::Undone.word().to_owned()),
            detail: format!(
                "`{}` starts it in step `{step}`, where it may have to be undone: with a pivot it would stand",
                parent.name
            ),
            ..FaultAt::default()
        })
    })
}

/// Explores a definition, within this module's bound, one at a time.
///
/// # Errors
/// When the server is closing, or the search panicked.
pub async fn explore(engine: &Engine, definition: &Definition) -> Result<Report, Problem> {
    let _turn = ONE_AT_A_TIME.acquire().await.map_err(|_| Problem::unavailable())?;
    let definition = definition.clone();
    // What would be started now comes first: of several versions it is the one that a child saga is of.
    let own = children_of(&definition).map(|(_, child)| child.to_owned()).collect::<Vec<_>>().into_iter();
    let current = own.filter_map(|name| engine.definitions.active(&name));
    let children: Vec<_> = current.chain(engine.definitions.all_in_use()).collect();
    // A search of seconds must not hold up the requests beside it.
    let explored = tokio::task::spawn_blocking(move || {
        let children: Vec<&Definition> = children.iter().map(|it| &it.definition).collect();
        check(&definition, &children, Limits::DOOR)
    });
    explored.await.map_err(|error| {
        tracing::error!(%error, "checking a definition panicked");
        Problem::unavailable()
    })
}

/// A verdict in a word.
pub const fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "proved",
        Verdict::Refuted(_) => "refuted",
        Verdict::Unproved => "unproved",
    }
}

fn not_proved() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unproved-definition", "The definition is not proved")
        .detail(
            "Nothing was published. Correct it (`amends check FILE` shows it at length), or publish it with \
             `?waive=` and a reason, which is recorded with the version.",
        )
}

fn refusal(report: &Report) -> Problem {
    let fault = match &report.verdict {
        Verdict::Refuted(it) => FaultAt {
            code: Some(it.property.word().to_owned()),
            detail: format!("{}{}", it.message, story(&it.story)),
            ..FaultAt::default()
        },
        _ => FaultAt {
            code: Some("unproved".to_owned()),
            detail: format!("nothing wrong was found in {} states, and there are more", report.states),
            ..FaultAt::default()
        },
    };
    not_proved().errors(vec![fault])
}

fn story(beats: &[Beat]) -> String {
    if beats.is_empty() {
        return String::new();
    }
    let told =
        (1..).zip(beats).map(|(nth, beat)| format!("{nth}. {}: {}", beat.happens, beat.follows.join(", ")));
    format!(". The shortest story: {}", told.collect::<Vec<_>>().join("; "))
}
