//! Bulk jobs as the API shows them.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::Api;
use crate::api::personal::MASK;
use crate::api::problem::Problem;
use crate::api::queues::AtRiskView;
use crate::api::view::SagaSummary;
use crate::auth::Caller;
use crate::jobs::JobRequest;
use crate::store::jobs::{Item, Job};

/// What a job would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobPreview {
    /// How many sagas it would act on.
    pub sagas: i64,
    /// Those that are left out, by reason.
    pub excluded: Vec<Excluded>,
    /// The money behind the set.
    pub amount: Vec<AtRiskView>,
    /// Some of them.
    pub sample: Vec<SagaSummary>,
    /// Where they stand.
    pub by_step: Vec<ByStep>,
    /// Inputs that a replay needs fresh, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_fresh: Vec<String>,
    /// How many will wait for a second person.
    pub approval: i64,
    /// For `abandon`: what would stay undone, by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncompensated: Vec<ByStep>,
}

/// Sagas that are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excluded {
    /// Why.
    pub reason: String,
    /// How many.
    pub sagas: i64,
}

/// Sagas at a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByStep {
    /// The step; `-` for none.
    pub step: String,
    /// How many.
    pub sagas: i64,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `action` or `replay`.
    pub kind: String,
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The filter that its set was found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The version that its replays take, when it is not each saga's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What its replays' inputs are changed by; masked for who may not see inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
    /// The places of inputs that its replays have fresh values for, as JSON pointers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fresh: Vec<String>,
    /// Whoever made it has said that they know what stays undone, or what is repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acknowledged: bool,
    /// The money behind its set, as it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amount: Vec<AtRiskView>,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// `canary`, `running`, `paused`, `stopped` (by itself), `done` or `cancelled`.
    pub state: String,
    /// Why it stopped by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_because: Option<String>,
    /// Why it does not come along now, though it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// So many first.
    pub canary: i32,
    /// Sagas a second.
    pub rate_per_s: i32,
    /// Stops when the same failure comes so many times in a row.
    pub stop_after_same: i32,
    /// The second person, who has approved what needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// How many sagas have which outcome.
    pub counts: JobCounts,
    /// Why sagas did not succeed, the most frequent first.
    pub reasons: Vec<JobReason>,
}

/// How many sagas have which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "the outcomes")]
pub struct JobCounts {
    pub total: i64,
    pub waiting: i64,
    pub acting: i64,
    pub succeeded: i64,
    pub failed_again: i64,
    pub changed: i64,
    pub refused: i64,
    pub awaiting_approval: i64,
}

/// Why sagas did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobReason {
    /// The outcome.
    pub outcome: String,
    /// In words.
    pub reason: String,
    /// How many.
    pub sagas: i64,
}

/// Jobs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// At most 200.
    pub jobs: Vec<JobView>,
}

/// One saga of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobItem {
    /// Its place in the set.
    pub number: i32,
    /// The saga.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `waiting`, `acting`, `succeeded`, `failed_again`, `changed`, `refused` or `awaiting_approval`.
    pub outcome: String,
    /// In words: `now succeeded`, `failed again: pay: CARD_REFUSED`, `changed meanwhile: skipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The saga that repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub new_saga: Option<SagaId>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// A page of a job's sagas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobItems {
    /// The sagas, in their order.
    pub items: Vec<JobItem>,
    /// Give it as `after` to get the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i32>,
}

/// A job as this caller may see it.
///
/// # Errors
/// When the database fails.
pub(super) async fn view(api: &Api, caller: &Caller, job: Job) -> Result<JobView, Problem> {
    let store = &api.engine().store;
    // What is done is counted once and for all.
    let (counts, reasons) = match job.summary.clone().and_then(|it| serde_json::from_str(&it).ok()) {
        Some((counts, reasons)) => (counts, reasons),
        None => (store.job_counts(job.id).await?, store.job_reasons(job.id).await?),
    };
    let counts: HashMap<String, i64> = counts.into_iter().collect();
    let count = |outcome: &str| counts.get(outcome).copied().unwrap_or(0);
    let request: JobRequest = serde_json::from_value(job.request).unwrap_or_default();
    let fresh: BTreeSet<&String> = request.fresh.values().flat_map(|it| it.keys()).collect();
    Ok(JobView {
        id: job.id,
        action: request.action,
        filter: request.filter,
        version: request.version,
        fresh: fresh.into_iter().cloned().collect(),
        merge: request.merge.map(|it| if caller.masked() { masked(it) } else { it }),
        acknowledged: request.acknowledged,
        amount: job.amount.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default(),
        name: job.name,
        kind: job.kind,
        by: job.by,
        why: job.why,
        created_at: job.created_at,
        ended_at: job.ended_at,
        state: job.state,
        stopped_because: job.stopped_because,
        stalled: job.stalled,
        canary: job.canary,
        rate_per_s: job.rate_per_s,
        stop_after_same: job.stop_after_same,
        approved_by: job.approved_by,
        counts: JobCounts {
            total: i64::from(job.total),
            waiting: count("waiting"),
            acting: count("acting"),
            succeeded: count("succeeded"),
            failed_again: count("failed_again"),
            changed: count("changed"),
            refused: count("refused"),
            awaiting_approval: count("awaiting_approval"),
        },
        reasons: reasons
            .into_iter()
            .map(|(outcome, reason, sagas)| JobReason { outcome, reason, sagas })
            .collect(),
    })
}

/// The places without what is put there.
fn masked(patch: Value) -> Value {
    match patch {
        Value::Object(members) => members.into_iter().map(|(name, it)| (name, masked(it))).collect(),
        Value::Null => Value::Null,
        _ => Value::from(MASK),
    }
}

/// An item as the API shows it.
pub(super) fn item(it: Item) -> JobItem {
    JobItem {
        number: it.number,
        saga: it.saga,
        key: it.key,
        outcome: it.outcome,
        words: it.words,
        new_saga: it.new_saga,
        at: it.at,
    }
}
