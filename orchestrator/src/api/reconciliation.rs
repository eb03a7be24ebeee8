//! The reconciliation: what it found, and running it now.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::problem::{FaultAt, Problem};
use super::{Api, From, body, sagas};
use crate::auth::Caller;
use crate::reconcile::Run;
use crate::store::reconciliation::FindingRow;

/// Runs that are shown.
const RUNS: i64 = 20;

/// What the reconciliation says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reconciliation {
    /// Whether this server knows the books.
    pub configured: bool,
    /// The newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<ReconciliationRun>,
    /// What the newest run that could read the books found and nobody has settled, the largest amounts first: a page.
    pub findings: Vec<FindingView>,
    /// How many there are in all.
    pub open: i64,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i32>,
    /// The newest runs.
    pub runs: Vec<ReconciliationRun>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReconciliationRun {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// How long it took, in ms.
    pub took_ms: i64,
    /// Orders that were compared.
    pub orders: i64,
    /// Orders from before its window that were too many to ask the vendor for in one run.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unasked: i64,
    /// How many findings.
    pub findings: i64,
    /// Why the books could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// `paid_but_cancelled`, `completed_but_unpaid`, `charged_too_much`, `refunded_twice` or `stock_without_order`.
    pub kind: String,
    /// The order.
    pub order_id: String,
    /// Its newest saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub saga: Option<SagaId>,
    /// The money that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// In words.
    pub words: String,
    /// What usually helps.
    pub suggested: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Which findings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingQuery {
    limit: Option<u16>,
    after: Option<i32>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(count: &i64) -> bool {
    *count == 0
}

/// A finding to be settled by hand.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Its kind.
    pub kind: String,
    /// Its order.
    pub order_id: String,
    /// Why the books may differ by it: what was done outside, such as the receipt; it stands in the audit.
    pub why: String,
}

fn run_view(run: Run) -> ReconciliationRun {
    ReconciliationRun {
        id: run.id,
        at: run.at,
        took_ms: run.took_ms,
        orders: run.orders,
        unasked: run.unasked,
        findings: run.findings,
        error: run.error,
    }
}

fn finding_view(it: FindingRow) -> FindingView {
    FindingView {
        kind: it.kind,
        order_id: it.order_id,
        saga: it.saga,
        amount: it.amount,
        currency: it.currency,
        words: it.words,
        suggested: it.suggested,
        since: it.since,
    }
}

async fn view(api: &Api, after: i32, limit: u16) -> Result<Reconciliation, Problem> {
    let store = &api.engine().store;
    let (runs, mut findings) = store.reconciliations(RUNS, (after, i64::from(limit) + 1)).await?;
    let more = findings.len() > usize::from(limit);
    findings.truncate(usize::from(limit));
    let next = findings.last().filter(|_| more).map(|it| it.number);
    let open = store.standing_of_books().await?.findings.iter().map(|it| it.1).sum();
    let runs: Vec<ReconciliationRun> = runs.into_iter().map(run_view).collect();
    Ok(Reconciliation {
        configured: api.config().reconciler.is_some(),
        run: runs.first().cloned(),
        findings: findings.into_iter().map(finding_view).collect(),
        open,
        next,
        runs,
    })
}

/// What the reconciliation found
#[utoipa::path(
    get, path = "/ops/reconciliation", operation_id = "get_reconciliation", tag = "operators",
    params(
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
        ("after" = Option<i32>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "What is open, and the newest runs", body = Reconciliation),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn get(
    State(api): State<Api>,
    asked: Result<Query<FindingQuery>, QueryRejection>,
) -> Result<Json<Reconciliation>, Problem> {
    let asked = sagas::query(asked)?;
    view(&api, asked.after.unwrap_or(0), sagas::limit(asked.limit)).await.map(Json)
}

/// Compares the books now
#[utoipa::path(
    post, path = "/ops/reconciliation", operation_id = "run_reconciliation", tag = "operators",
    responses(
        (status = 200, description = "What it found", body = Reconciliation),
        (status = 409, description = "It runs already", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This server does not know the books", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
) -> Result<Json<Reconciliation>, Problem> {
    let Some(reconciler) = &api.config().reconciler else {
        return Err(Problem::new(
            axum::http::StatusCode::UNPROCESSABLE_ENTITY,
            "not-configured",
            "This server does not know the books",
        )
        .detail(
            "Start it with AMENDS_RECONCILE_ORDER_URL, AMENDS_RECONCILE_STOCK_URL and TOSS_SECRET_KEY (and TOSS_BASE_URL).",
        ));
    };
    let run = reconciler.run(api.engine(), Some(&actor(&caller, from))).await?;
    if run.is_none() {
        return Err(Problem::conflict("It runs already. Look again in a moment."));
    }
    view(&api, 0, sagas::limit(None)).await.map(Json)
}

/// Settles a finding by hand
///
/// What was looked into and is put right outside, or never will be: no run tells of it again, unless its amount changes.
#[utoipa::path(
    post, path = "/ops/reconciliation/settle", operation_id = "settle_finding", tag = "operators",
    request_body = SettleRequest,
    responses(
        (status = 200, description = "What is open now", body = Reconciliation),
        (status = 404, description = "No such finding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn settle(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Json<Reconciliation>, Problem> {
    let request: SettleRequest = body::of(&api, &headers, sent).await?;
    let mut faults: Vec<FaultAt> = body::reason(&request.why).into_iter().collect();
    for (at, text) in [("/kind", &request.kind), ("/order_id", &request.order_id)] {
        if text.contains('\0') {
            faults.push(FaultAt::at(at, "has a NUL character"));
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid_input(faults));
    }
    let store = &api.engine().store;
    let why = request.why.replace('\0', "\u{fffd}");
    let settled = store.settle_finding(&actor(&caller, from), &request.kind, &request.order_id, &why).await?;
    settled.ok_or_else(|| {
        Problem::not_found("The last comparison has no such finding. `GET /ops/reconciliation` lists them.")
    })?;
    store.standing_of_books().await?.tell();
    api.live().tell("reconciliation");
    view(&api, 0, sagas::limit(None)).await.map(Json)
}
