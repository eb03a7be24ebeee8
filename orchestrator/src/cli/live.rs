//! Scenarios on the real stack: the same files, with the shipped workers steered by their input.
//!
//! Owns what can be compared: how it ended, why, which steps ran and which were undone. The order in which parallel
//! steps run is the real stack's own; memory compares orders.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use saga_core::Definition;
use saga_core::definition::{Work, item_name};
use saga_core::simulate::{Expect, Happening, Live, Scenario, ScenarioFile, has};
use serde_json::Value;

use super::Server;
use super::client::{Client, Sent};
use super::exit::{Code, Failure};
use super::scenarios::Outcome;
use crate::api::view::{HistoryEvent, SagaView, Started, StepView, TrackView};

/// How long a scenario may take on the real stack.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a scenario on a running engine.
///
/// # Errors
/// When the engine cannot be reached; what the scenario itself has wrong is its outcome.
pub(super) async fn run(
    server: &Server,
    definition: &Definition,
    file: &ScenarioFile,
    scenario: &Scenario,
) -> Result<Outcome, Failure> {
    let live = match &scenario.live {
        None => return Ok(Outcome::Skipped("it does not say how real workers are brought to it".to_owned())),
        Some(Live::No(why)) => return Ok(Outcome::Skipped(why.clone())),
        Some(live) => live,
    };
    let Some(input) = live.input(scenario.input(file)) else { return Ok(Outcome::Skipped(String::new())) };
    let script = scenario.script().map_err(|error| Failure::usage(error.to_string()))?;
    let client = server.client()?;
    let word = unique_word();
    if let Some(first) = live.first(file) {
        let saga = match begin(&client, &first.definition, &unique(&first.input, &word)).await? {
            Ok(started) => rested(&client, &started, "completed").await?,
            Err(why) => return Ok(Outcome::Failed(vec![format!("what is to be first: {why}")])),
        };
        if saga.summary.status != "completed" {
            let told = format!("what is to be first is {} ({})", saga.summary.status, saga.summary.saga);
            return Ok(Outcome::Failed(vec![told]));
        }
    }
    let started = match begin(&client, &definition.name, &unique(&input, &word)).await? {
        Ok(started) => started,
        Err(why) => return Ok(Outcome::Failed(vec![why])),
    };
    for (nth, (_, happening)) in script.events.iter().enumerate() {
        let Happening::Signal { name, payload } = happening else {
            let why = "beside signals, nothing that happens can be brought about on the real stack";
            return Ok(Outcome::Failed(vec![format!("`live` cannot be: {why}")]));
        };
        signal(&client, &started, nth, name, payload.as_ref()).await?;
    }
    let saga = rested(&client, &started, &scenario.expect.ends).await?;
    if saga.summary.status == "running" {
        let late = format!("{} is still running after {} s", started.saga, PATIENCE.as_secs());
        return Ok(Outcome::Failed(vec![late]));
    }
    let mut expect = scenario.expect.clone();
    expect.output = expect.output.filter(|_| !script.says_outputs());
    let wrong = compare(&client, definition, &saga, &expect, &word).await?;
    Ok(Outcome::of(wrong.into_iter().map(|it| format!("{it} (saga {})", started.saga)).collect()))
}

/// Starts a saga; a refusal is told, and is no failure of the run.
async fn begin(client: &Client, definition: &str, input: &Value) -> Result<Result<Started, String>, Failure> {
    let path = format!("/sagas/{definition}");
    let started = client.send(Method::POST, &path, &[], Sent::Json(input.to_string().as_bytes())).await;
    match started {
        Err(failure) if failure.code == Code::Unreachable => Err(failure),
        Err(failure) => Ok(Err(format!("{definition} was not started: {failure}"))),
        Ok(started) => Ok(Ok(started)),
    }
}

/// Waits until a saga has ended, or is parked where that is expected, and no longer than [`PATIENCE`]: what was sent to
/// it may still bring one that is parked further.
async fn rested(client: &Client, started: &Started, expected: &str) -> Result<SagaView, Failure> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let saga = client.saga(started.saga).await?;
        let status = saga.summary.status.as_str();
        let rests = status != "running" && (status != "parked" || expected == "parked");
        if rests || tokio::time::Instant::now() > until {
            return Ok(saga);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends a signal. Its time is not waited for: one that is early is kept.
async fn signal(
    client: &Client,
    started: &Started,
    nth: usize,
    name: &str,
    payload: Option<&Value>,
) -> Result<(), Failure> {
    let path = format!("/sagas/{}/signals/{name}?why=a+scenario", started.saga);
    let body = payload.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())).to_string();
    let key = [("idempotency-key", format!("{}-{nth}-{name}", started.saga))];
    let _: Value = client.send(Method::POST, &path, &key, Sent::Json(body.as_bytes())).await?;
    Ok(())
}

async fn compare(
    client: &Client,
    definition: &Definition,
    saga: &SagaView,
    expect: &Expect,
    word: &str,
) -> Result<Vec<String>, Failure> {
    let (history, _) = client.history(saga.summary.saga, 0).await?;
    let mut wrong = Vec::new();
    let mut differs = |what: &str, wanted: String, found: String| {
        if wanted != found {
            wrong.push(format!("{what}: expected {wanted}, found {found}"));
        }
    };
    differs("ends", expect.ends.clone(), saga.summary.status.clone());
    for (step, why) in expect.parked.iter().flatten() {
        let parked =
            saga.parked.as_ref().and_then(|it| Some((item_name(it.step.as_ref()?, it.item), it.why.clone())));
        let found = parked.map_or("nothing".to_owned(), |(step, why)| format!("{step}: {why}"));
        differs("parked", format!("{step}: {why}"), found);
    }
    for (step, code) in expect.because.iter().flatten() {
        let failed =
            |it: &&HistoryEvent| it.what.step.as_deref() == Some(step.as_str()) && it.what.error.is_some();
        let found = history.iter().rev().find(failed).and_then(|it| it.what.error.as_ref());
        differs(
            &format!("why {step} failed"),
            code.clone(),
            found.map_or("nothing", |it| &it.code).to_owned(),
        );
    }
    if let Some(wanted) = &expect.steps {
        let asks = |name: &str| {
            let step = definition.find(name).and_then(|ix| definition.step(ix));
            step.is_some_and(|step| !matches!(step.work, Work::Sleep { .. } | Work::Signal { .. }))
        };
        let found = saga.steps.iter().filter(|it| asks(&it.step) && was_sent(it.execute.as_ref()));
        differs("steps", sorted(wanted.clone()), sorted(names(found)));
    }
    if let Some(wanted) = &expect.compensated {
        let found = saga.steps.iter().filter(|it| was_sent(it.compensate.as_ref()));
        differs("compensated", sorted(wanted.clone()), sorted(names(found)));
    }
    let anomalies = saga.anomalies.iter().map(|it| it.kind.clone()).collect();
    differs("anomalies", sorted(expect.anomalies.clone()), sorted(anomalies));
    if let Some(wanted) = &expect.output {
        let found = saga.output.as_ref().unwrap_or(&Value::Null);
        if !has(found, &unique(wanted, word)) {
            differs("output", wanted.to_string(), found.to_string());
        }
    }
    Ok(wrong)
}

fn names<'v>(steps: impl Iterator<Item = &'v StepView>) -> Vec<String> {
    steps.map(|it| item_name(&it.step, it.item)).collect()
}

/// Whether anything was asked of anybody: a `foreach` over nothing has succeeded, and what was skipped at once is done.
fn was_sent(track: Option<&TrackView>) -> bool {
    track.is_some_and(|track| track.first_sent_at.is_some())
}

fn sorted(mut all: Vec<String>) -> String {
    all.sort();
    all.dedup();
    format!("[{}]", all.join(", "))
}

/// A word that no run before had. In capitals: a coupon's number has no others.
fn unique_word() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:X}{:04X}", now.as_millis(), rand::random::<u16>())
}

/// The input with `UNIQUE` replaced in every text, so that a scenario can be run again and again.
fn unique(input: &Value, word: &str) -> Value {
    serde_json::from_str(&input.to_string().replace("UNIQUE", word)).unwrap_or_else(|_| input.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn step(item: Option<u32>, state: &str, first_sent_at: Option<&str>) -> StepView {
        let execute =
            json!({ "state": state, "round": 1, "attempt": 1, "charged": 1, "first_sent_at": first_sent_at });
        let step =
            json!({ "step": "wrap", "item": item, "state": state, "action": "wrap", "execute": execute });
        serde_json::from_value(step).unwrap()
    }

    #[test]
    fn the_items_of_a_foreach_are_spelled_as_scenarios_spell_them() {
        let at = Some("2026-11-22T12:00:00Z");
        let steps = [step(Some(0), "succeeded", at), step(Some(1), "skipped", at), step(None, "running", at)];
        assert_eq!(names(steps.iter()), ["wrap[0]", "wrap[1]", "wrap"]);
        assert!(steps.iter().all(|it| was_sent(it.execute.as_ref())));
    }

    #[test]
    fn what_was_never_sent_does_not_count_however_it_ended() {
        for state in ["succeeded", "skipped", "held"] {
            assert!(!was_sent(step(None, state, None).execute.as_ref()), "{state}");
        }
        assert!(!was_sent(None));
    }
}
