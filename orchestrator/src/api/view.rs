//! The API's answers as types: what the server writes, the OpenAPI document describes and the command line
//! reads.
//!
//! Words are those of the design; instants are RFC 3339, amounts in the currency's smallest unit.

use chrono::{DateTime, Utc};
use saga_protocol::SagaId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where more about a saga is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// The saga itself.
    #[serde(rename = "self")]
    pub itself: String,
    /// Its history.
    pub history: String,
}

impl Links {
    /// The links of a saga.
    pub fn of(saga: SagaId) -> Self {
        Self { itself: format!("/sagas/{saga}"), history: format!("/sagas/{saga}/history") }
    }
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Started {
    /// The saga's id.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// The definition's name.
    pub definition: String,
    /// Where the saga stands: `running`, `parked`, `completed`, `compensated` or `abandoned`.
    pub status: String,
    /// The same request came before: this is its saga.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// What the saga yields, once it has completed and was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it did not complete, once it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What may keep it from ending soon, such as a worker that is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Where more about it is.
    pub links: Links,
}

/// Why a saga or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The step, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// A stable code, such as `REJECT_CARD_COMPANY`.
    pub code: String,
    /// In words.
    pub message: String,
}

/// A saga in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SagaSummary {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub saga: SagaId,
    /// Its definition's name.
    pub definition: String,
    /// Its definition's version, a hash.
    pub version: String,
    /// `running`, `parked`, `completed`, `compensated` or `abandoned`.
    pub status: String,
    /// Its business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The amount at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// The saga that it is a step of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub parent: Option<SagaId>,
    /// The saga that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub replay_of: Option<SagaId>,
}

/// A page of sagas, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SagaPage {
    /// The sagas.
    pub sagas: Vec<SagaSummary>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub next: Option<SagaId>,
}

/// One saga, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SagaView {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: SagaSummary,
    /// Which way it goes: `forward`, `pivot_open`, `committed` or `unwinding`.
    pub phase: String,
    /// What turned it around, while it unwinds and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Counts transitions; operators' actions name the one that they saw.
    pub revision: u32,
    /// When it is undone, if its pivot has not been sent by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
    /// Why it needs a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedView>,
    /// What happens next by itself, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// Every step of the definition, in its order; a `foreach` that began has one an item.
    pub steps: Vec<StepView>,
    /// Proof of effects that nobody undoes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<AnomalyView>,
    /// What it was started with.
    pub input: Value,
    /// What it yields, once it has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Where more about it is.
    pub links: Links,
}

/// What turned a saga around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `rejected`, `exhausted`, `deadline`, `operator` or `parent`.
    pub kind: String,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// Why a saga needs a human.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParkedView {
    /// The kind of reason, such as `compensation_failed`.
    pub why: String,
    /// The step that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The reason in words.
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// What happens next by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Next {
    /// `retry`, `timeout`, `wait_ends` or `deadline`.
    pub what: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// One step of a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Its name.
    pub step: String,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Where it stands, both directions together: `pending`, `held`, `running`, `unknown`, `retrying`,
    /// `waiting`, `succeeded`, `rejected`, `exhausted`, `undecidable`, `skipped`, `given_up`, `compensating`,
    /// `compensated` or `compensation_failed`.
    pub state: String,
    /// The worker, if a worker does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The worker's action, or what the step waits for.
    pub action: String,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<String>,
    /// The steps that must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// After it there is no way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
    /// Its failure is a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// When it has its turn, when that is not in the graph: `on_compensated` or `on_parked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// Its work, once it was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execute: Option<TrackView>,
    /// Its undoing, once that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<TrackView>,
}

/// One direction of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrackView {
    /// `held`, `running`, `unknown`, `retrying`, `waiting`, `succeeded`, `rejected`, `exhausted`,
    /// `undecidable`, `skipped` or `given_up`.
    pub state: String,
    /// The round, from 1.
    pub round: u32,
    /// Attempts sent in this round.
    pub attempt: u32,
    /// Attempts that count against the budget.
    pub charged: u32,
    /// How many the budget allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// When the round was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<DateTime<Utc>>,
    /// When the newest attempt was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_at: Option<DateTime<Utc>>,
    /// When it is looked at again by itself: the next try, a timeout, the end of a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
    /// When its newest answer was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<DateTime<Utc>>,
    /// What it produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why its newest answer was not a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Proof of an effect that nobody undoes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnomalyView {
    /// The effect.
    pub effect_key: String,
    /// What happened, such as `succeeded_after_skip`.
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
    /// When somebody settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
}

/// A page of history, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// The transitions.
    pub events: Vec<HistoryEvent>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEvent {
    /// The revision that it made.
    pub revision: u32,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened to a saga.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// When it was taken in.
    pub at: DateTime<Utc>,
    /// `start`, `answer`, `due`, `signal`, `child_ended`, `operator`, `hold`, `log_lost`, `poison`,
    /// `illegal`, `parent_compensates`, or `unreadable` for one that this build cannot read.
    pub kind: String,
    /// The step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The item of a `foreach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// `execute` or `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `succeeded`, `rejected`, `retryable` or `undecidable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// What an operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What else a human should read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the event brought: the start's input, an answer's output, a signal's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// A page of what changed nothing, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredPage {
    /// The records.
    pub ignored: Vec<IgnoredView>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Something that changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredView {
    /// Orders the log.
    pub id: i64,
    /// Why it changed nothing.
    pub reason: String,
    /// What it was.
    #[serde(flatten)]
    pub what: Happening,
}

/// The answer to an operator's action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// The action's id in the mailbox; the same for a repetition with the same `Idempotency-Key`.
    pub id: Uuid,
    /// `applied`, `ignored` (nothing to do), or `accepted` (kept, and not taken in yet).
    pub result: String,
    /// Why it was ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The saga's coarse status afterwards.
    pub status: String,
    /// Where more about it is.
    pub links: Links,
}

/// The answer to a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Signalled {
    /// The signal's id in the mailbox; the same for a repetition with the same `Idempotency-Key`.
    pub id: Uuid,
    /// The same request came before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Where more about the saga is.
    pub links: Links,
}

/// A definition in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionSummary {
    /// Its name.
    pub name: String,
    /// The version that new sagas take, a hash.
    pub version: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The route that starts it, such as `POST /orders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The team that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its runbook is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<String>,
}

/// The definitions that sagas can be started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionList {
    /// The definitions, by name.
    pub definitions: Vec<DefinitionSummary>,
}

/// One definition with its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionView {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: DefinitionSummary,
    /// JSON Schema of its input.
    pub input: Value,
    /// Its versions, newest first.
    pub versions: Vec<VersionView>,
}

/// A version of a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// The hash of its content.
    pub version: String,
    /// Whether new sagas take it.
    pub active: bool,
    /// When it was published first.
    pub published_at: DateTime<Utc>,
    /// Its text.
    pub source: String,
}

/// The answer to a publication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublishedView {
    /// The definition's name.
    pub name: String,
    /// The version, now the active one.
    pub version: String,
    /// Whether its content is new.
    pub fresh: bool,
}

/// How the process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// `ok`.
    pub status: String,
    /// Which process answers.
    pub node: String,
    /// How many shards it owns.
    pub shards: u64,
}
