//! Definitions: which there are, their text, and publishing.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use saga_core::Definition;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use super::view::{DefinitionList, DefinitionSummary, DefinitionView, PublishedView, VersionView};
use super::{Api, body, proof, triggers};
use crate::engine::Engine;
use crate::store::definitions::{Proof, PublishError, Published};

const MEDIA_TYPES: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/plain"];
/// The largest text of a definition, in bytes.
const SOURCE_BYTES_MAX: usize = 512 * 1024;

/// Lists the definitions that sagas can be started from
#[utoipa::path(
    get, path = "/definitions", operation_id = "list_definitions", tag = "definitions",
    responses((status = 200, description = "The definitions", body = DefinitionList))
)]
pub async fn list(State(api): State<Api>) -> Json<DefinitionList> {
    let all = api.engine().definitions.all_active();
    Json(DefinitionList { definitions: all.iter().map(|it| summary(&it.definition)).collect() })
}

/// One definition with its versions
#[utoipa::path(
    get, path = "/definitions/{name}", operation_id = "get_definition", tag = "definitions",
    params(("name" = String, Path, description = "The definition's name")),
    responses(
        (status = 200, description = "The definition", body = DefinitionView),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<DefinitionView>, Problem> {
    let unknown =
        || Problem::not_found("There is no definition of this name. `GET /definitions` lists them.");
    let active = api.engine().definitions.active(&name).ok_or_else(unknown)?;
    let versions = api.engine().store.versions(&name).await?;
    let versions = versions
        .into_iter()
        .map(|row| VersionView {
            version: row.version,
            active: row.active,
            published_at: row.published_at,
            verdict: row.verdict,
            waiver: row.waiver,
            unfinished: row.unfinished,
            source: row.source.unwrap_or_default(),
        })
        .collect();
    let input = active.definition.input_schema.clone();
    Ok(Json(DefinitionView { summary: summary(&active.definition), input, versions }))
}

/// How to publish.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PublishQuery {
    /// Publishes a definition that is not proved, for this reason, which is recorded with the version.
    #[serde(default)]
    pub waive: Option<String>,
}

/// Publishes a definition
///
/// The body is its YAML text. It is checked: every combination of outcomes is explored, and what is not proved is
/// refused unless a reason to waive that is given. From now on new sagas take this version; running ones stay on theirs.
#[utoipa::path(
    post, path = "/definitions", operation_id = "publish_definition", tag = "definitions",
    params(PublishQuery),
    request_body(content = String, content_type = "application/yaml", description = "The definition"),
    responses(
        (status = 200, description = "Its content was published before; it is the active version now", body = PublishedView),
        (status = 201, description = "A new version", body = PublishedView),
        (status = 415, description = "The body is not said to be YAML", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition has mistakes, all of them listed, or is not proved", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn publish(
    State(api): State<Api>,
    query: Result<Query<PublishQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    if !body::media_type(&headers).is_some_and(|it| MEDIA_TYPES.contains(&it.as_str())) {
        return Err(body::unsupported("application/yaml"));
    }
    let bytes = body::read(request, SOURCE_BYTES_MAX).await?;
    let source = std::str::from_utf8(&bytes).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
    let (published, fresh, proof) = checked(api.engine(), source, query.waive).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let Definition { name, version, .. } = &published.definition;
    let answer = PublishedView {
        name: name.clone(),
        version: version.0.clone(),
        fresh,
        verdict: proof.verdict.to_owned(),
        waiver: proof.waiver.as_deref().map(str::to_owned),
    };
    Ok((status, Json(answer)).into_response())
}

/// Publishes a definition whose trigger can be served, and that is proved or waived.
///
/// # Errors
/// Every mistake; that it is not proved; or that the database failed.
pub async fn checked(
    engine: &Engine,
    source: &str,
    waiver: Option<String>,
) -> Result<(std::sync::Arc<Published>, bool, Proof), Problem> {
    let definition = saga_core::definition::load(source).map_err(PublishError::Mistakes)?;
    triggers::check(&engine.definitions, &engine.topics, &definition)
        .map_err(|fault| Problem::invalid_definition(vec![fault]))?;
    let proof = proof::prove(engine, &definition, waiver).await?;
    let (published, fresh) = engine.publish_proved(source, &proof).await?;
    Ok((published, fresh, proof))
}

fn summary(definition: &Definition) -> DefinitionSummary {
    DefinitionSummary {
        name: definition.name.clone(),
        version: definition.version.0.clone(),
        description: definition.description.clone(),
        trigger: triggers::spell_all(definition),
        owner: definition.about.owner.clone(),
        runbook: definition.about.runbook.clone(),
        steps: definition.steps.iter().map(|step| step.name.as_str().to_owned()).collect(),
    }
}
