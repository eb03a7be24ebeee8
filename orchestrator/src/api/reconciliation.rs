//! The reconciliation: what it found, and running it now.

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::actor;
use super::problem::Problem;
use super::{Api, From};
use crate::auth::Caller;
use crate::reconcile::Run;
use crate::store::audit::Deed;
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
    /// What the newest run found, the largest amounts first; at most 1,000.
    pub findings: Vec<FindingView>,
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

fn run_view(run: Run) -> ReconciliationRun {
    ReconciliationRun {
        id: run.id,
        at: run.at,
        took_ms: run.took_ms,
        orders: run.orders,
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

async fn view(api: &Api) -> Result<Reconciliation, Problem> {
    let (runs, findings) = api.engine().store.reconciliations(RUNS).await?;
    let runs: Vec<ReconciliationRun> = runs.into_iter().map(run_view).collect();
    Ok(Reconciliation {
        configured: api.config().reconciler.is_some(),
        run: runs.first().cloned(),
        findings: findings.into_iter().map(finding_view).collect(),
        runs,
    })
}

/// What the reconciliation found
#[utoipa::path(
    get, path = "/ops/reconciliation", operation_id = "get_reconciliation", tag = "operators",
    responses((status = 200, description = "The newest run's findings", body = Reconciliation))
)]
pub async fn get(State(api): State<Api>) -> Result<Json<Reconciliation>, Problem> {
    view(&api).await.map(Json)
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
    let run = reconciler.run(api.engine()).await?;
    let run = run.ok_or_else(|| Problem::conflict("It runs already. Look again in a moment."))?;
    let after = serde_json::json!({ "findings": run.findings, "orders": run.orders });
    let deed = Deed { after: Some(after), ..Deed::new("reconciliation.run", run.id.to_string()) };
    api.engine().store.keep_deed(&actor(&caller, from), deed).await?;
    view(&api).await.map(Json)
}
