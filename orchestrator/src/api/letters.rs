//! Dead letters and anomalies: what could not be understood, and what was proved and nobody undoes.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use saga_bus::{Outgoing, Pace};
use saga_core::Millis;
use saga_protocol::{Headers, Message, Reply, SagaId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::account::actor;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, masks, sagas, words};
use crate::auth::Caller;
use crate::clock;
use crate::engine::Engine;
use crate::store::care::{AnomalyPlace, AnomalyRow, DeadLetter, DeadLetterFilter, Settled};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LetterView {
    /// Orders the letters.
    pub id: i64,
    /// When it was kept.
    pub at: DateTime<Utc>,
    /// Where it came from.
    pub source: String,
    /// Why it could not be taken in.
    pub reason: String,
    /// The saga that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub saga: Option<SagaId>,
    /// `kept`, `sent` or `discarded`.
    pub state: String,
    /// How long its data is, in bytes.
    pub bytes: u64,
    /// Whether it can be sent again.
    pub resendable: bool,
    /// Who settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its headers, where one letter is looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its data as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Its data, when that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// A page of dead letters, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LetterPage {
    /// The letters.
    pub dead_letters: Vec<LetterView>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Which dead letters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetterQuery {
    saga: Option<SagaId>,
    state: Option<String>,
    text: Option<String>,
    limit: Option<u16>,
    after: Option<i64>,
}

/// Why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// The reason; it stands in the audit.
    pub why: String,
}

fn headers_of(letter: &DeadLetter) -> BTreeMap<String, String> {
    serde_json::from_str(&letter.headers).unwrap_or_default()
}

/// Where a letter goes when it is sent again, and as what.
fn again(engine: &Engine, letter: &DeadLetter) -> Option<Outgoing> {
    let headers = headers_of(letter);
    if letter.data.is_empty() {
        return None;
    }
    // A worker's: the command as it came, on the topic that it came from.
    if let (Some(topic), Some(partition)) =
        (headers.get("amends_dead_topic"), headers.get("amends_dead_partition"))
    {
        let ours = topic.starts_with(&format!("{}.", engine.topics.prefix()))
            && *topic != engine.topics.dead_letters();
        let partition = partition.parse().ok().filter(|_| ours)?;
        let mut kept = Headers::default();
        for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with("amends_dead_")) {
            kept.push(name.clone(), value.clone());
        }
        let key = letter.saga.map(|saga| saga.to_string()).unwrap_or_default();
        let message = Message { key: key.into(), headers: kept, data: letter.data.clone().into() };
        return Some(Outgoing { topic: topic.as_str().into(), partition: Some(partition), message });
    }
    let kept = || {
        let mut kept = Headers::default();
        headers.iter().for_each(|(name, value)| kept.push(name.clone(), value.clone()));
        let key = letter.saga.map(|saga| saga.to_string()).unwrap_or_default();
        Message { key: key.into(), headers: kept, data: letter.data.clone().into() }
    };
    // A trigger's, on the topic that it came from, as long as that still starts something.
    if let Some((topic, partition)) = trigger_of(&letter.source)
        && engine
            .definitions
            .all_active()
            .iter()
            .any(|it| it.definition.kafka.as_ref().is_some_and(|kafka| kafka.topic == topic))
    {
        return Some(Outgoing { topic: topic.into(), partition: Some(partition), message: kept() });
    }
    let shard = letter
        .source
        .strip_prefix(&format!("{}/", engine.topics.inbox()))?
        .split('/')
        .next()?
        .parse()
        .ok()?;
    let message = if headers.is_empty() {
        // It was understood as a reply, and only fitted no saga.
        let reply: Reply = serde_json::from_slice(&letter.data).ok()?;
        reply.encode("operator", clock::now().0, None)
    } else {
        kept()
    };
    Some(Outgoing { topic: engine.topics.inbox().into(), partition: Some(shard), message })
}

/// The topic and partition of `topic/log/partition/offset`. A log's id is base 64 and may have slashes in it.
fn trigger_of(source: &str) -> Option<(&str, i32)> {
    let (topic, place) = source.split_once('/')?;
    let [_offset, partition, _log] = place.rsplitn(3, '/').collect::<Vec<_>>()[..] else { return None };
    Some((topic, partition.parse().ok()?))
}

fn view(engine: &Engine, letter: DeadLetter, whole: bool) -> LetterView {
    let resendable = letter.settled_at.is_none() && again(engine, &letter).is_some();
    let headers = if whole { headers_of(&letter) } else { BTreeMap::new() };
    let bytes = letter.data.len() as u64;
    let (data, data_base64) = match String::from_utf8(letter.data) {
        _ if !whole => (None, None),
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
    LetterView {
        id: letter.id,
        at: letter.at,
        source: letter.source,
        reason: letter.reason,
        saga: letter.saga,
        state: letter.settled_how.unwrap_or_else(|| "kept".to_owned()),
        bytes,
        resendable,
        by: letter.settled_by,
        settled_at: letter.settled_at,
        why: letter.settled_why,
        headers,
        data,
        data_base64,
    }
}

/// Dead letters, newest first
#[utoipa::path(
    get, path = "/ops/dead-letters", operation_id = "list_dead_letters", tag = "operators",
    params(
        ("saga" = Option<uuid::Uuid>, Query, description = "Only of this saga"),
        ("state" = Option<String>, Query, description = "`kept`, `sent` or `discarded`"),
        ("text" = Option<String>, Query, description = "Only with this in the reason"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<i64>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = LetterPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    asked: Result<Query<LetterQuery>, QueryRejection>,
) -> Result<Json<LetterPage>, Problem> {
    let asked = sagas::query(asked)?;
    if asked.state.as_deref().is_some_and(|it| !["kept", "sent", "discarded"].contains(&it)) {
        return Err(Problem::bad_request("`state` is `kept`, `sent` or `discarded`."));
    }
    let limit = sagas::limit(asked.limit);
    let filter =
        DeadLetterFilter { saga: asked.saga, state: asked.state, text: asked.text, after: asked.after };
    let engine = api.engine();
    let mut rows = engine.store.dead_letters(&filter, limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| more).map(|row| row.id);
    Ok(Json(LetterPage { dead_letters: rows.into_iter().map(|it| view(engine, it, false)).collect(), next }))
}

fn no_letter() -> Problem {
    Problem::not_found("There is no dead letter with this id. `GET /ops/dead-letters` lists them.")
}

/// One dead letter, with headers and data
#[utoipa::path(
    get, path = "/ops/dead-letters/{id}", operation_id = "get_dead_letter", tag = "operators",
    params(("id" = i64, Path, description = "The letter")),
    responses(
        (status = 200, description = "The letter", body = LetterView),
        (status = 404, description = "No such letter", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Json<LetterView>, Problem> {
    let Path(id) = path.map_err(|_| no_letter())?;
    let letter = api.engine().store.dead_letter(id).await?.ok_or_else(no_letter)?;
    let mut view = view(api.engine(), letter, true);
    // Nobody knows what is personal in what could not be understood.
    if caller.masked() {
        (view.data, view.data_base64) = (None, None);
    }
    Ok(Json(view))
}

async fn settle(
    api: &Api,
    (caller, from): (Caller, From),
    path: Result<Path<i64>, PathRejection>,
    request: WhyRequest,
    how: &str,
) -> Result<Json<LetterView>, Problem> {
    let Path(id) = path.map_err(|_| no_letter())?;
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let engine = api.engine();
    let letter = engine.store.dead_letter(id).await?.ok_or_else(no_letter)?;
    let outgoing = again(engine, &letter);
    if how == "sent" && outgoing.is_none() {
        let fault = FaultAt::at(
            "",
            "the letter holds nothing that can be sent again; discard it when it is dealt with",
        );
        return Err(Problem::invalid_input(vec![fault]));
    }
    let why = request.why.replace('\0', "\u{fffd}");
    // Sent while its row is locked: of two who press at once, one sends it; and who dies in between has settled nothing.
    let send = async || match outgoing {
        Some(outgoing) if how == "sent" => {
            engine.bus.publish(vec![outgoing], Pace::Now).await.await.iter().all(Result::is_ok)
        }
        _ => true,
    };
    match engine.store.settle_dead_letter(&actor(&caller, from), id, how, &why, send).await? {
        Settled::Nothing => Err(no_letter()),
        Settled::Before(it) => Err(Problem::conflict(format!(
            "It was {} by {} already.",
            it.settled_how.unwrap_or_default(),
            it.settled_by.unwrap_or_default()
        ))),
        Settled::Now(letter) => Ok(Json(view(engine, letter, false))),
        Settled::Not => Err(Problem::unavailable()),
    }
}

/// Sends a dead letter again
///
/// As it came, to where it came from. What is still not understood there becomes a new letter.
#[utoipa::path(
    post, path = "/ops/dead-letters/{id}/resend", operation_id = "resend_dead_letter", tag = "operators",
    params(("id" = i64, Path, description = "The letter")),
    request_body = WhyRequest,
    responses(
        (status = 200, description = "Sent", body = LetterView),
        (status = 404, description = "No such letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is settled already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be sent again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn resend(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<LetterView>, Problem> {
    let request = body::of(&api, &headers, sent).await?;
    settle(&api, (caller, from), path, request, "sent").await
}

/// Discards a dead letter
#[utoipa::path(
    post, path = "/ops/dead-letters/{id}/discard", operation_id = "discard_dead_letter", tag = "operators",
    params(("id" = i64, Path, description = "The letter")),
    request_body = WhyRequest,
    responses(
        (status = 200, description = "Discarded; it stays visible", body = LetterView),
        (status = 404, description = "No such letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is settled already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn discard(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    path: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<LetterView>, Problem> {
    let request = body::of(&api, &headers, sent).await?;
    settle(&api, (caller, from), path, request, "discarded").await
}

/// An anomaly in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyItem {
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// The effect.
    pub effect_key: String,
    /// What happened.
    pub kind: String,
    /// When it was found.
    pub at: DateTime<Utc>,
    /// The amount at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
}

fn anomaly(row: AnomalyRow) -> AnomalyItem {
    AnomalyItem {
        saga: row.saga,
        effect_key: row.effect_key,
        kind: row.kind,
        at: words::instant(Millis(row.at_ms)),
        amount: row.amount,
        currency: row.currency,
        output: row.output,
        resolved_at: row.resolved_at,
        resolved_by: row.resolved_by,
        resolution: row.resolution,
    }
}

/// A page of anomalies, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyPage {
    /// The anomalies.
    pub anomalies: Vec<AnomalyItem>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which anomalies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnomalyQuery {
    open: Option<bool>,
    limit: Option<u16>,
    after: Option<String>,
}

/// Anomalies, newest first
#[utoipa::path(
    get, path = "/ops/anomalies", operation_id = "list_anomalies", tag = "operators",
    params(
        ("open" = Option<bool>, Query, description = "Only those that nobody settled; true when absent"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = AnomalyPage),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn anomalies(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<AnomalyQuery>, QueryRejection>,
) -> Result<Json<AnomalyPage>, Problem> {
    let asked = sagas::query(asked)?;
    let limit = sagas::limit(asked.limit);
    let after = match asked.after.as_deref() {
        None => None,
        Some(text) => Some(
            place(text).ok_or_else(|| Problem::bad_request("`after` is the `next` of the page before."))?,
        ),
    };
    let mut rows =
        api.engine().store.anomaly_page(asked.open.unwrap_or(true), after.as_ref(), limit + 1).await?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| format!("{}~{}~{}~{}", row.at_ms, row.saga, row.effect_key, row.kind));
    let masked = caller.masked();
    let anomalies = rows.into_iter().map(anomaly).map(|mut it| {
        it.output = it.output.filter(|_| !masked);
        it
    });
    let mut anomalies: Vec<AnomalyItem> = anomalies.collect();
    masks::mask(api.engine(), &caller, &mut anomalies).await?;
    Ok(Json(AnomalyPage { anomalies, next }))
}

/// The place that a page's `next` names.
fn place(text: &str) -> Option<AnomalyPlace> {
    let mut parts = text.splitn(4, '~');
    let (ms, saga) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let clean = |part: &str| (!part.contains('\0')).then(|| part.to_owned());
    Some((ms, saga, clean(parts.next()?)?, clean(parts.next()?)?))
}

/// An anomaly that is settled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// The effect.
    pub effect_key: String,
    /// What happened.
    pub kind: String,
    /// What was done about it.
    pub why: String,
}

/// Settles an anomaly: the effect was undone by hand, or is wanted
#[utoipa::path(
    post, path = "/ops/anomalies/resolve", operation_id = "resolve_anomaly", tag = "operators",
    request_body = ResolveRequest,
    responses(
        (status = 200, description = "Settled", body = AnomalyItem),
        (status = 404, description = "No such anomaly", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is settled already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request has faults", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn resolve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<AnomalyItem>, Problem> {
    let request: ResolveRequest = body::of(&api, &headers, sent).await?;
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    if let Some(fault) = body::reason(&request.why) {
        return Err(Problem::invalid_input(vec![fault]));
    }
    let (effect_key, kind) = (clean(&request.effect_key), clean(&request.kind));
    let which = (request.saga, effect_key.as_str(), kind.as_str());
    match api.engine().store.resolve_anomaly(&actor(&caller, from), which, &clean(&request.why)).await? {
        Settled::Now(row) => Ok(Json(anomaly(row))),
        Settled::Before(row) => Err(Problem::conflict(format!(
            "It was settled by {} already: {}",
            row.resolved_by.unwrap_or_default(),
            row.resolution.unwrap_or_default()
        ))),
        Settled::Not => Err(Problem::unavailable()),
        Settled::Nothing => {
            Err(Problem::not_found("There is no such anomaly. `GET /ops/anomalies` lists them."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::trigger_of;

    #[test]
    fn a_log_with_slashes_in_its_id_is_found_back() {
        let expected = Some(("shop.orders", 3));
        assert_eq!(trigger_of("shop.orders/wAfZJ22+ToagJrQqVweP/Q/3/17"), expected);
        assert_eq!(trigger_of("shop.orders/0/3/17"), expected);
        for other in ["shop.orders", "shop.orders/3/17", "shop.orders/log/three/17"] {
            assert_eq!(trigger_of(other), None, "{other}");
        }
    }
}
