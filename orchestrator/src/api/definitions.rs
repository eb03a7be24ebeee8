//! Definitions: which there are, their text, and publishing.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use saga_core::Definition;
use serde::Deserialize;
use utoipa::IntoParams;

use super::account::actor;
use super::problem::{FaultAt, Problem};
use super::view::{
    CanaryRequest, CanaryView, DefinitionList, DefinitionSummary, DefinitionView, OutcomesView,
    PublishedView, VersionView,
};
use super::{Api, From, body, proof, triggers};
use crate::auth::Caller;
use crate::engine::Engine;
use crate::store::audit::Actor;
use crate::store::canary::Outcomes;
use crate::store::definitions::{Over, Proof, Published, Release, Share, readable};

const MEDIA_TYPES: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/plain"];
/// How much of a version names it.
const VERSION_DIGITS_MIN: usize = 8;
/// The largest text of a definition, in bytes.
const SOURCE_BYTES_MAX: usize = 512 * 1024;

/// Lists the definitions that sagas can be started from
#[utoipa::path(
    get, path = "/definitions", operation_id = "list_definitions", tag = "definitions",
    responses((status = 200, description = "The definitions", body = DefinitionList))
)]
pub async fn list(State(api): State<Api>) -> Result<Json<DefinitionList>, Problem> {
    let mut definitions = Vec::new();
    for published in api.engine().definitions.all_active() {
        definitions.push(summary(api.engine(), &published).await?);
    }
    Ok(Json(DefinitionList { definitions }))
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
            canary_percent: row.canary.and_then(|it| u8::try_from(it).ok()),
            published_at: row.published_at,
            verdict: row.verdict,
            waiver: row.waiver,
            unfinished: row.unfinished,
            source: row.source.unwrap_or_default(),
        })
        .collect();
    let input = active.definition.input_schema.clone();
    let summary = summary(api.engine(), &active).await?;
    Ok(Json(DefinitionView { summary, input, versions }))
}

/// How to publish.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PublishQuery {
    /// Publishes a definition that is not proved, for this reason, which is recorded with the version.
    #[serde(default)]
    pub waive: Option<String>,
    /// Publishes it as a canary: it takes so many starts of a hundred (1 to 99), the current version the others, until it
    /// is promoted or withdrawn.
    #[serde(default)]
    #[param(minimum = 1, maximum = 99)]
    pub canary: Option<u8>,
    /// The version that is current as far as you know, or at least 8 of its first digits; `none` where there is none of
    /// this name yet. Where another one is current by then, nothing is published.
    #[serde(default)]
    #[param(example = "none")]
    pub over: Option<String>,
}

impl PublishQuery {
    fn release(&self) -> Result<Release, Problem> {
        let over = match self.over.as_deref() {
            None => None,
            Some("none") => Some(Over::Nothing),
            Some(it) if it.len() >= VERSION_DIGITS_MIN => Some(Over::Version(it.to_owned())),
            Some(_) => {
                return Err(Problem::bad_request(format!(
                    "`over` is a version, at least {VERSION_DIGITS_MIN} of its digits, or `none`."
                )));
            }
        };
        Ok(Release { share: self.canary.map_or(Share::All, Share::Canary), over })
    }
}

/// Publishes a definition
///
/// The body is its YAML text. It is checked: every combination of outcomes is explored, and what is not proved is
/// refused unless a reason to waive that is given. From now on new sagas take this version, or with `canary` a share of
/// them; running ones stay on theirs. A canary that there was ends.
#[utoipa::path(
    post, path = "/definitions", operation_id = "publish_definition", tag = "definitions",
    params(PublishQuery),
    request_body(content = String, content_type = "application/yaml", description = "The definition"),
    responses(
        (status = 200, description = "Its content was published before; it is the active version now", body = PublishedView),
        (status = 201, description = "A new version", body = PublishedView),
        (status = 409, description = "Another version is current than `over` says", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be YAML", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition has mistakes, all of them listed, or is not proved", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn publish(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
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
    let release = query.release()?;
    let actor = actor(&caller, from);
    let (published, fresh, proof) = checked(api.engine(), source, query.waive, &release, &actor).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let Definition { name, version, .. } = &published.definition;
    let answer = PublishedView {
        name: name.clone(),
        version: version.0.clone(),
        fresh,
        canary_percent: query.canary,
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
    release: &Release,
    actor: &Actor,
) -> Result<(std::sync::Arc<Published>, bool, Proof), Problem> {
    let definition = readable(&engine.store, source).await?;
    triggers::check(&engine.definitions, &engine.topics, &definition)
        .map_err(|fault| Problem::invalid_definition(vec![fault]))?;
    let proof = proof::prove(engine, &definition, waiver).await?;
    let (published, fresh) = engine.publish_proved(source, &proof, release, actor).await?;
    Ok((published, fresh, proof))
}

/// Makes a canary the current version: from now on it takes all starts
#[utoipa::path(
    post, path = "/definitions/{name}/promote", operation_id = "promote_canary", tag = "definitions",
    params(("name" = String, Path, description = "The definition's name")),
    request_body = CanaryRequest,
    responses(
        (status = 200, description = "It is the current version", body = DefinitionSummary),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This version is no canary", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn promote(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<DefinitionSummary>, Problem> {
    end(&api, &actor(&caller, from), path, body::of(&api, &headers, sent).await?, true).await
}

/// Ends a canary: from now on the current version takes all starts; the canary's sagas go on with it
#[utoipa::path(
    post, path = "/definitions/{name}/withdraw", operation_id = "withdraw_canary", tag = "definitions",
    params(("name" = String, Path, description = "The definition's name")),
    request_body = CanaryRequest,
    responses(
        (status = 200, description = "It takes no starts any more", body = DefinitionSummary),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This version is no canary", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn withdraw(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<DefinitionSummary>, Problem> {
    end(&api, &actor(&caller, from), path, body::of(&api, &headers, sent).await?, false).await
}

async fn end(
    api: &Api,
    actor: &Actor,
    path: Result<Path<String>, PathRejection>,
    asked: CanaryRequest,
    promote: bool,
) -> Result<Json<DefinitionSummary>, Problem> {
    let engine = api.engine();
    let unknown =
        || Problem::not_found("There is no definition of this name. `GET /definitions` lists them.");
    let Path(name) = path.map_err(|_| unknown())?;
    let mut faults: Vec<FaultAt> = asked.why.as_deref().and_then(body::reason).into_iter().collect();
    if asked.version.len() < VERSION_DIGITS_MIN {
        faults.push(FaultAt::at("/version", &format!("has less than {VERSION_DIGITS_MIN} digits")));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    engine.definitions.active(&name).ok_or_else(unknown)?;
    let none = || {
        Problem::conflict(format!(
            "This version of `{name}` is no canary, or is one no more. `GET /definitions/{name}` shows what there is."
        ))
    };
    // As the database has it, not as this process remembers it.
    engine.definitions.refresh(&engine.store).await?;
    let canary = engine.definitions.canary(&name).ok_or_else(none)?;
    if !canary.published.definition.version.0.starts_with(&asked.version) {
        return Err(none());
    }
    let why = asked.why.map(|it| it.replace('\0', "\u{fffd}"));
    if !engine.end_canary(actor, &canary.published, promote, why.as_deref()).await? {
        return Err(none());
    }
    let active = engine.definitions.active(&name).ok_or_else(unknown)?;
    summary(engine, &active).await.map(Json)
}

async fn summary(engine: &Engine, active: &Published) -> Result<DefinitionSummary, Problem> {
    let definition = &active.definition;
    let canary = match engine.definitions.canary(&definition.name) {
        None => None,
        Some(it) => {
            let both = engine.store.outcomes(&[it.published.id, active.id], it.since).await?;
            let [outcomes, current] = [0, 1].map(|at| view(both.get(at).copied().unwrap_or_default()));
            let version = it.published.definition.version.0.clone();
            Some(CanaryView { version, percent: it.percent, since: it.since, outcomes, current })
        }
    };
    Ok(DefinitionSummary {
        name: definition.name.clone(),
        version: definition.version.0.clone(),
        description: definition.description.clone(),
        trigger: triggers::spell_all(definition),
        owner: definition.about.owner.clone(),
        runbook: definition.about.runbook.clone(),
        steps: definition.steps.iter().map(|step| step.name.as_str().to_owned()).collect(),
        canary,
    })
}

fn view(it: Outcomes) -> OutcomesView {
    let failed = it.parked + it.compensated + it.abandoned;
    let settled = failed + it.completed;
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let failure_rate = (settled > 0).then(|| failed as f64 / settled as f64);
    OutcomesView {
        running: it.running,
        parked: it.parked,
        completed: it.completed,
        compensated: it.compensated,
        abandoned: it.abandoned,
        failure_rate,
    }
}
