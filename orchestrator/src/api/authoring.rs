//! What authors ask before anything is published: whether a text is right, and how a saga of it would go.
//!
//! Both are pure: nothing is written, no worker is asked, and what a saga does is `saga_core`'s alone.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use saga_core::Definition;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::{FaultAt, Problem};
use super::{Api, body, triggers};
use crate::simulation::{Move, Played, play};
use crate::store::definitions::PublishError;

/// The largest text of a definition, in bytes; twice that with its input and moves around it.
const SOURCE_BYTES_MAX: usize = 512 * 1024;
/// The most moves of one simulation.
const MOVES_MAX: usize = 500;

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
    let bytes = body::read(request, SOURCE_BYTES_MAX).await?;
    let source = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
    let judged = load(source).and_then(|definition| {
        triggers::check(&api.engine().definitions, &definition).map_err(|fault| vec![fault])?;
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
    let asked = body::json(&headers, request, 2 * SOURCE_BYTES_MAX).await?;
    let asked: SimulateRequest = serde_json::from_value(asked)
        .map_err(|error| invalid(FaultAt { detail: error.to_string(), ..FaultAt::default() }))?;
    if asked.moves.len() > MOVES_MAX {
        let detail = format!("has {} moves; {MOVES_MAX} are the most", asked.moves.len());
        return Err(invalid(FaultAt { pointer: Some("/moves".to_owned()), detail, ..FaultAt::default() }));
    }
    let definition = load(&asked.source).map_err(Problem::invalid_definition)?;
    let validator = saga_core::definition::validator(&definition)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    if !validator.is_valid(&asked.input) {
        let mut faults = body::faults(&validator, &asked.input);
        for fault in &mut faults {
            fault.pointer = fault.pointer.as_ref().map(|it| format!("/input{it}"));
        }
        return Err(Problem::invalid_input(faults));
    }
    // Hundreds of moves are milliseconds, but of a thread that serves nobody else.
    let played = tokio::task::spawn_blocking(move || play(&definition, asked.input, &asked.moves)).await;
    let played = played.map_err(|error| Problem::bad_request(error.to_string()))?;
    played.map(Json).map_err(|(number, detail)| {
        invalid(FaultAt { pointer: Some(format!("/moves/{number}")), detail, ..FaultAt::default() })
    })
}

fn load(source: &str) -> Result<Definition, Vec<FaultAt>> {
    saga_core::definition::load(source).map_err(|all| Problem::from(PublishError::Mistakes(all)).errors)
}

fn invalid(fault: FaultAt) -> Problem {
    Problem::invalid_input(vec![fault])
}
