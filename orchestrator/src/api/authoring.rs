//! What authors ask before anything is published: is a text right, is it proved, how would a saga of it go.
//!
//! All of it is pure: nothing is written and no worker is asked. What a saga does is `saga_core`'s alone.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use saga_core::Definition;
use saga_core::check::{Report, Verdict};
use saga_core::simulate::{Coverage, Scenario, ScenarioFile, by_hand, play, verify};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::played::{self, Move, Played, StepState, TimelineLine};
use super::problem::{FaultAt, Problem};
use super::{Api, body, proof, triggers};
use crate::store::definitions::{PublishError, readable};

/// The largest text of a definition, in bytes; twice that with its input, moves or scenarios around it.
const SOURCE_BYTES_MAX: usize = 512 * 1024;
/// The most moves of one simulation.
const MOVES_MAX: usize = 500;
/// The most scenarios of one request.
const SCENARIOS_MAX: usize = 200;

/// What is to be said of a definition's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckedView {
    /// Every mistake, in the order of the text; none when it is right.
    pub mistakes: Vec<FaultAt>,
    /// Its name, when it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version that it would be, when it is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What exploring a definition came to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProofView {
    /// `proved`, `refuted` or `unproved` (there are more states than may be visited here).
    pub verdict: String,
    /// How many states were visited.
    pub states: usize,
    /// How many transitions were tried.
    pub transitions: u64,
    /// How many steps were in trouble at once; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub troubles: Option<u8>,
    /// How it is refuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refutation: Option<RefutationView>,
}

/// A property that does not hold, with the shortest story that shows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RefutationView {
    /// The property.
    pub property: String,
    /// What is wrong at the story's end.
    pub message: String,
    /// What happens, in order.
    pub story: Vec<StoryBeat>,
}

/// One thing that happens in a story.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StoryBeat {
    /// What happens.
    pub happens: String,
    /// What the saga does.
    pub follows: Vec<String>,
    /// Where its steps stand then, those that were touched.
    pub steps: Vec<StepState>,
}

/// A definition, an input, and what happens, move by move.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// The definition's text (YAML).
    pub source: String,
    /// The saga's input.
    pub input: Value,
    /// What happens after the start, in order; 500 at most.
    #[serde(default)]
    pub moves: Vec<Move>,
}

/// A definition and a file of scenarios.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenariosRequest {
    /// The definition's text (YAML).
    pub source: String,
    /// The scenarios' text (YAML), as `amends test` takes it.
    pub scenarios: String,
}

/// What came of scenarios.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScenariosView {
    /// Each scenario, in order.
    pub scenarios: Vec<ScenarioView>,
    /// What no scenario reaches, such as `pay rejected`.
    pub missing: Vec<String>,
    /// How much there is to reach.
    pub total: usize,
}

/// What came of one scenario.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScenarioView {
    /// Its name.
    pub name: String,
    /// Whether it came out as it says.
    pub passed: bool,
    /// What did not.
    pub wrong: Vec<String>,
    /// Virtual time from its start to its end, in ms.
    pub took_ms: i64,
    /// What happened.
    pub timeline: Vec<TimelineLine>,
}

/// Checks a definition without publishing it
///
/// The body is its YAML text; the answer says every mistake that publishing would refuse.
#[utoipa::path(
    post, path = "/authoring/check", operation_id = "check_definition", tag = "definitions",
    request_body(content = String, content_type = "application/yaml", description = "The definition"),
    responses(
        (status = 200, description = "What is to be said of it", body = CheckedView),
        (status = 413, description = "The text is too large", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn check(State(api): State<Api>, request: Body) -> Result<Json<CheckedView>, Problem> {
    let source = text(request).await?;
    let judged = load(&source).and_then(|definition| {
        triggers::check(&api.engine().definitions, &api.engine().topics, &definition)
            .map_err(|fault| vec![fault])?;
        Ok(definition)
    });
    Ok(Json(match judged {
        Ok(definition) => CheckedView {
            mistakes: Vec::new(),
            name: Some(definition.name),
            version: Some(definition.version.0),
        },
        Err(mistakes) => CheckedView { mistakes, name: None, version: None },
    }))
}

/// Explores every combination of outcomes
///
/// The body is the definition's YAML text; the search is what publishing does, and takes seconds.
#[utoipa::path(
    post, path = "/authoring/prove", operation_id = "prove_definition", tag = "definitions",
    request_body(content = String, content_type = "application/yaml", description = "The definition"),
    responses(
        (status = 200, description = "What was found", body = ProofView),
        (status = 422, description = "The definition has mistakes", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn prove(State(api): State<Api>, request: Body) -> Result<Json<ProofView>, Problem> {
    let definition = readable(&api.engine().store, &text(request).await?).await?;
    let report = proof::explore(api.engine(), &definition).await?;
    Ok(Json(told(&definition, report)))
}

fn told(definition: &Definition, report: Report) -> ProofView {
    let verdict = proof::word(&report.verdict).to_owned();
    let refutation = match report.verdict {
        Verdict::Refuted(it) => Some(RefutationView {
            property: it.property.word().to_owned(),
            message: it.message,
            story: it
                .story
                .into_iter()
                .map(|beat| StoryBeat {
                    happens: beat.happens,
                    follows: beat.follows,
                    steps: beat
                        .cells
                        .iter()
                        .filter_map(|cell| played::step_state(definition, cell))
                        .collect(),
                })
                .collect(),
        }),
        Verdict::Proved | Verdict::Unproved => None,
    };
    let troubles = report.depth.troubles();
    ProofView { verdict, states: report.states, transitions: report.transitions, troubles, refutation }
}

/// Plays a saga by hand
///
/// Nothing is written and no worker is asked: the moves are the answers. The same moves give the same play.
#[utoipa::path(
    post, path = "/authoring/simulate", operation_id = "simulate", tag = "definitions",
    request_body = SimulateRequest,
    responses(
        (status = 200, description = "Where the saga stands after the moves, and what can happen next", body = Played),
        (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition, the input or a move has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn simulate(headers: HeaderMap, request: Body) -> Result<Json<Played>, Problem> {
    let asked: SimulateRequest = asked(&headers, request).await?;
    if asked.moves.len() > MOVES_MAX {
        return Err(too_many("/moves", asked.moves.len(), MOVES_MAX));
    }
    let definition = load(&asked.source).map_err(Problem::invalid_definition)?;
    let faults = refused(&definition, &asked.input)?;
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    let moves: Vec<_> = asked.moves.into_iter().map(Move::into).collect();
    // Hundreds of moves are milliseconds, but of a thread that serves nobody else.
    let played = tokio::task::spawn_blocking(move || {
        by_hand(&definition, asked.input, &moves).map(|hand| Played::of(&definition, hand))
    });
    let played = played.await.map_err(|error| Problem::bad_request(error.to_string()))?;
    played.map(Json).map_err(|error| {
        invalid(FaultAt {
            pointer: Some(format!("/moves/{}", error.nth)),
            detail: error.message,
            ..FaultAt::default()
        })
    })
}

/// Runs scenarios in memory
///
/// As `amends test` does: in virtual time, against the worker's barrier. Nothing is written.
#[utoipa::path(
    post, path = "/authoring/scenarios", operation_id = "run_scenarios", tag = "definitions",
    request_body = ScenariosRequest,
    responses(
        (status = 200, description = "What came of each", body = ScenariosView),
        (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition or the scenarios have faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn scenarios(headers: HeaderMap, request: Body) -> Result<Json<ScenariosView>, Problem> {
    let asked: ScenariosRequest = asked(&headers, request).await?;
    let definition = load(&asked.source).map_err(Problem::invalid_definition)?;
    let fault = |detail: String| {
        invalid(FaultAt { pointer: Some("/scenarios".to_owned()), detail, ..FaultAt::default() })
    };
    let file = ScenarioFile::parse(&asked.scenarios).map_err(|error| fault(error.to_string()))?;
    if file.definition != definition.name {
        return Err(fault(format!("is of `{}`, not of `{}`", file.definition, definition.name)));
    }
    if file.scenarios.len() > SCENARIOS_MAX {
        return Err(too_many("/scenarios", file.scenarios.len(), SCENARIOS_MAX));
    }
    let ran = tokio::task::spawn_blocking(move || {
        let mut coverage = Coverage::of(&definition);
        let each = |scenario| one(&definition, &file, scenario, &mut coverage);
        let scenarios = file.scenarios.iter().map(each).collect::<Result<_, _>>()?;
        let missing = coverage.missing().map(str::to_owned).collect();
        Ok(ScenariosView { scenarios, missing, total: coverage.total() })
    });
    let ran = ran.await.map_err(|error| Problem::bad_request(error.to_string()))?;
    ran.map(Json).map_err(fault)
}

fn one(
    definition: &Definition,
    file: &ScenarioFile,
    scenario: &Scenario,
    coverage: &mut Coverage,
) -> Result<ScenarioView, String> {
    let script = scenario.script().map_err(|error| error.to_string())?;
    let name = scenario.name.clone();
    let input = scenario.input(file);
    let mut wrong = scenario.in_vain(definition);
    let faults = refused(definition, &input).map_err(|problem| problem.detail.unwrap_or(problem.title))?;
    wrong.extend(
        faults.into_iter().map(|it| format!("input{}: {}", it.pointer.unwrap_or_default(), it.detail)),
    );
    let failed =
        |wrong| ScenarioView { name: name.clone(), passed: false, wrong, took_ms: 0, timeline: Vec::new() };
    if !wrong.is_empty() {
        return Ok(failed(wrong));
    }
    let run = match play(definition, input, &script) {
        Ok(run) => run,
        Err(illegal) => return Ok(failed(vec![illegal.to_string()])),
    };
    coverage.take_in(definition, &run);
    let wrong = verify(definition, &run, &scenario.expect);
    let timeline = run.timeline.into_iter().map(TimelineLine::from).collect();
    Ok(ScenarioView { name, passed: wrong.is_empty(), wrong, took_ms: run.took_ms, timeline })
}

async fn text(request: Body) -> Result<String, Problem> {
    let bytes = body::read(request, SOURCE_BYTES_MAX).await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::bad_request("The body is not UTF-8."))
}

async fn asked<T: serde::de::DeserializeOwned>(headers: &HeaderMap, request: Body) -> Result<T, Problem> {
    let json = body::json(headers, request, 2 * SOURCE_BYTES_MAX).await?;
    serde_json::from_value(json)
        .map_err(|error| invalid(FaultAt { detail: error.to_string(), ..FaultAt::default() }))
}

fn load(source: &str) -> Result<Definition, Vec<FaultAt>> {
    saga_core::definition::load(source).map_err(|all| Problem::from(PublishError::Mistakes(all)).errors)
}

/// What the door has against an input.
fn refused(definition: &Definition, input: &Value) -> Result<Vec<FaultAt>, Problem> {
    let validator = saga_core::definition::validator(definition)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    if !validator.is_valid(input) {
        return Ok(body::faults(&validator, input));
    }
    let unmeant = definition.unmeant(input).into_iter();
    Ok(unmeant.map(|detail| FaultAt { detail, ..FaultAt::default() }).collect())
}

fn too_many(pointer: &str, found: usize, most: usize) -> Problem {
    let detail = format!("has {found}; {most} are the most");
    invalid(FaultAt { pointer: Some(pointer.to_owned()), detail, ..FaultAt::default() })
}

fn invalid(fault: FaultAt) -> Problem {
    Problem::invalid_input(vec![fault])
}
