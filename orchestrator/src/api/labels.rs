//! Which labels there are: what completes a filter as it is typed.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::{Api, sagas};

/// Which labels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelQuery {
    begin: Option<String>,
    limit: Option<u16>,
}

/// Labels that sagas have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabelList {
    /// Names that begin so, while no value is begun.
    pub names: Vec<String>,
    /// `name:value`, of which the name is whole.
    pub labels: Vec<String>,
}

/// The labels that sagas have
///
/// Without a colon in `begin`, the names that begin so; with one, the labels. In their order, at most `limit`.
#[utoipa::path(
    get, path = "/ops/labels", operation_id = "list_labels", tag = "operators",
    params(
        ("begin" = Option<String>, Query, description = "How they begin: `reg`, or `region:se`"),
        ("limit" = Option<u16>, Query, description = "1 to 500; 50 when absent"),
    ),
    responses(
        (status = 200, description = "The labels", body = LabelList),
        (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(api): State<Api>,
    asked: Result<Query<LabelQuery>, QueryRejection>,
) -> Result<Json<LabelList>, Problem> {
    let asked = sagas::query(asked)?;
    let store = &api.engine().store;
    let limit = i64::from(sagas::limit(asked.limit));
    let begin = asked.begin.unwrap_or_default();
    Ok(Json(if begin.contains(':') {
        LabelList { names: Vec::new(), labels: store.labels(&begin, limit).await? }
    } else {
        LabelList { names: store.label_names(&begin, limit).await?, labels: Vec::new() }
    }))
}
