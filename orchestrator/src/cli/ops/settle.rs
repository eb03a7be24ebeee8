//! Putting things right, one at a time: holds, approvals, anomalies, dead letters, filters, retention.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use reqwest::Method;
use saga_core::definition::item_name;
use saga_protocol::SagaId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ago;
use super::look::{held, show};
use crate::api::approvals::{ApprovalList, ApprovalView, DecisionRequest};
use crate::api::care::{FilterList, FilterRequest};
use crate::api::holds::{HoldList, HoldRequest, HoldView};
use crate::api::letters::{LetterView, ResolveRequest, WhyRequest};
use crate::api::reconciliation::{Reconciliation, SettleRequest};
use crate::api::retention::{RetentionRequest, RetentionView};
use crate::cli::client::{Client, Sent, query_of};
use crate::cli::exit::{Code, Failure};
use crate::cli::style::{amount, table};
use crate::cli::{Output, say};

#[derive(Debug, Subcommand)]
pub(super) enum Settle {
    /// What is held
    Holds {
        /// Also what was released
        #[arg(long)]
        all: bool,
    },
    /// Holds all starts, a definition, or a worker's action; compensations flow
    Hold {
        /// A definition: its starts and its steps
        #[arg(long, conflicts_with = "worker")]
        definition: Option<String>,
        /// A worker: its steps, or those of one --action
        #[arg(long)]
        worker: Option<String>,
        /// One action of the worker
        #[arg(long, requires = "worker")]
        action: Option<String>,
        /// Why; it stands in the audit
        #[arg(long)]
        why: String,
        /// Until when; until it is released when absent
        #[arg(long, value_name = "INSTANT")]
        until: Option<DateTime<Utc>>,
    },
    /// Releases a hold
    Release {
        /// The hold
        id: Uuid,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Actions that wait for a second person
    Approvals {
        /// Also those that were decided
        #[arg(long)]
        all: bool,
    },
    /// Approves somebody else's action; exit code 1 when the saga refused it
    Approve {
        /// The approval
        id: Uuid,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Rejects an action
    Reject {
        /// The approval
        id: Uuid,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Says that an anomaly is settled
    Resolve {
        /// The saga
        saga: SagaId,
        /// The effect, as `amends ops anomalies` shows it
        effect_key: String,
        /// What happened, such as succeeded_after_skip
        kind: String,
        /// How it was settled
        #[arg(long)]
        why: String,
    },
    /// Says that a finding of the reconciliation is settled
    #[command(name = "settle-finding")]
    Finding {
        /// Its kind, as `amends reconcile --last` shows it
        kind: String,
        /// Its order
        order_id: String,
        /// How it was settled, such as the receipt
        #[arg(long)]
        why: String,
    },
    /// Sends a dead letter again
    Resend {
        /// The letter
        id: i64,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Discards a dead letter
    Discard {
        /// The letter
        id: i64,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Saves a filter under a name
    SaveFilter {
        /// Its name
        name: String,
        /// The query, such as `status=parked&step=pay`
        query: String,
        /// Everybody sees it
        #[arg(long)]
        shared: bool,
    },
    /// Drops a saved filter
    DropFilter {
        /// Its name
        name: String,
    },
    /// How long ended sagas stay; with --days sets it
    Retention {
        /// The definition; every other one when absent
        #[arg(default_value = "*")]
        definition: String,
        /// 14 to 36,500
        #[arg(long, requires = "why")]
        days: Option<i32>,
        /// Why
        #[arg(long)]
        why: Option<String>,
    },
}

pub(super) async fn run(settle: Settle, client: &Client, output: Output) -> Result<Code, Failure> {
    match settle {
        Settle::Holds { all } => {
            let it: HoldList = client.query("/ops/holds", &[("active", !all)]).await?;
            show(output, &it, || holds(&it));
        }
        Settle::Hold { definition, worker, action, why, until } => {
            let kind = match (&definition, &worker) {
                (Some(_), _) => "definition",
                (None, Some(_)) => "action",
                (None, None) => "starts",
            };
            let request = HoldRequest { kind: kind.to_owned(), definition, worker, action, why, until };
            let it: HoldView = client.post("/ops/holds", &request).await?;
            show(output, &it, || {
                format!("held: {}; release it: amends ops release {} --why …", held(&it), it.id)
            });
        }
        Settle::Release { id, why } => {
            let path = format!("/ops/holds/{id}?{}", query_of(&[("why", &why)]));
            let it: HoldView = client.send(Method::DELETE, &path, &[], Sent::Nothing).await?;
            show(output, &it, || {
                format!("released: {}; what it kept back goes on within seconds", held(&it))
            });
        }
        Settle::Approvals { all } => {
            let it: ApprovalList = client.query("/ops/approvals", &[("open", !all)]).await?;
            show(output, &it, || approvals(&it));
        }
        Settle::Approve { id, why } => return decide(client, id, "approve", why, output).await,
        Settle::Reject { id, why } => return decide(client, id, "reject", why, output).await,
        Settle::Resolve { saga, effect_key, kind, why } => {
            let request = ResolveRequest { saga, effect_key, kind, why };
            let it: Value = client.post("/ops/anomalies/resolve", &request).await?;
            show(output, &it, || "settled".to_owned());
        }
        Settle::Finding { kind, order_id, why } => {
            let request = SettleRequest { kind, order_id, why };
            let it: Reconciliation = client.post("/ops/reconciliation/settle", &request).await?;
            show(output, &it, || format!("settled; {} findings are open", it.open));
        }
        Settle::Resend { id, why } => {
            let it: LetterView =
                client.post(&format!("/ops/dead-letters/{id}/resend"), &WhyRequest { why }).await?;
            show(output, &it, || format!("letter {id} is sent again"));
        }
        Settle::Discard { id, why } => {
            let it: LetterView =
                client.post(&format!("/ops/dead-letters/{id}/discard"), &WhyRequest { why }).await?;
            show(output, &it, || {
                format!("letter {id} is discarded; it stays visible with --state discarded")
            });
        }
        Settle::SaveFilter { name, query, shared } => {
            let body = serde_json::to_vec(&FilterRequest { query, shared }).unwrap_or_default();
            let path = format!("/ops/filters/{}", segment(&name));
            let all: FilterList = client.send(Method::PUT, &path, &[], Sent::Json(&body)).await?;
            show(output, &all, || format!("saved; use it: amends saga list --saved {name}"));
        }
        Settle::DropFilter { name } => {
            let path = format!("/ops/filters/{}", segment(&name));
            let it: Value = client.send(Method::DELETE, &path, &[], Sent::Nothing).await?;
            show(output, &it, || format!("{name} is dropped"));
        }
        Settle::Retention { definition, days, why } => {
            let it: RetentionView = match (days, why) {
                (Some(days), Some(why)) => {
                    let body = serde_json::to_vec(&RetentionRequest { days, why }).unwrap_or_default();
                    let path = format!("/ops/retention/{}", segment(&definition));
                    client.send(Method::PUT, &path, &[], Sent::Json(&body)).await?
                }
                _ => client.get("/ops/retention").await?,
            };
            show(output, &it, || retention(&it));
        }
    }
    Ok(Code::Ok)
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    let mut url = reqwest::Url::parse("http://localhost").expect("it is an address");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().push(text);
    }
    url.path().trim_start_matches('/').to_owned()
}

async fn decide(client: &Client, id: Uuid, word: &str, why: String, output: Output) -> Result<Code, Failure> {
    let request = DecisionRequest { decision: word.to_owned(), why };
    let it: ApprovalView = client.post(&format!("/ops/approvals/{id}"), &request).await?;
    show(output, &it, || match &it.result {
        Some(result) => format!("{}; the saga said: {result}", it.state),
        None if it.state == "approved" => "approved; the saga has not taken it in yet".to_owned(),
        None => it.state.clone(),
    });
    Ok(match it.result.as_deref() {
        Some(result) if result.starts_with("refused") => Code::Failed,
        Some(result) if result.starts_with("ignored") => Code::Ignored,
        None if it.state == "approved" => Code::Pending,
        _ => Code::Ok,
    })
}

fn holds(it: &HoldList) -> String {
    if it.holds.is_empty() {
        return "nothing is held".to_owned();
    }
    let now = Utc::now();
    let rows = it.holds.iter().map(|h| {
        let state = match (h.released_at, h.until) {
            (Some(_), _) => format!("released by {}", h.released_by.as_deref().unwrap_or("-")),
            (None, Some(until)) => format!("until {}", until.format("%H:%M:%S UTC")),
            (None, None) => "in force".to_owned(),
        };
        vec![
            h.id.to_string(),
            held(h),
            state,
            h.held_back.to_string(),
            h.by.clone(),
            ago(h.at, now),
            h.why.clone(),
        ]
    });
    table(&["hold", "what", "state", "held back", "by", "set", "why"], rows.collect())
}

fn approvals(it: &ApprovalList) -> String {
    if it.approvals.is_empty() {
        return "nothing waits for a second person".to_owned();
    }
    let now = Utc::now();
    let rows = it.approvals.iter().map(|a| {
        vec![
            a.id.to_string(),
            a.state.clone(),
            asked_for(&a.action),
            a.amount.map(|number| amount(number, a.currency.as_deref())).unwrap_or_default(),
            a.saga.to_string(),
            a.asked_by.clone(),
            ago(a.asked_at, now),
            a.why.clone(),
        ]
    });
    table(&["approval", "state", "action", "amount", "saga", "asked by", "asked", "why"], rows.collect())
}

/// The deed, its place, and what it brings along: all that is approved with it.
fn asked_for(request: &Value) -> String {
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let mut words = text("action").unwrap_or("?").to_owned();
    if let Some(step) = text("step") {
        let item = request.get("item").and_then(Value::as_u64).and_then(|item| u32::try_from(item).ok());
        words.push_str(&format!(" {}", item_name(step, item)));
    }
    for name in ["input", "output", "evidence"] {
        if let Some(brought) = request.get(name).filter(|it| !it.is_null()) {
            words.push_str(&format!(", {name} {brought}"));
        }
    }
    words
}

fn retention(it: &RetentionView) -> String {
    let rules: Vec<Vec<String>> = it
        .retention
        .iter()
        .map(|r| vec![r.definition.clone(), format!("{} days", r.days), r.by.clone()])
        .collect();
    let rules = if rules.is_empty() {
        "no rules: everything stays; `amends ops retention --days 90 --why …` sets one".to_owned()
    } else {
        table(&["definition", "stays", "by"], rules)
    };
    let weeks = it.weeks.iter().map(|w| {
        let may = w.droppable_at.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d").to_string());
        vec![w.week.to_string(), format!("{} KiB", w.bytes / 1024), may]
    });
    format!("{rules}\n\n{}", table(&["week of history", "size", "may go"], weeks.collect()))
}

/// Runs the reconciliation, or shows its newest run.
pub(super) async fn reconcile(
    client: &Client,
    (last, after): (bool, Option<i32>),
    output: Output,
) -> Result<Code, Failure> {
    let it: Reconciliation = if last || after.is_some() {
        client.query("/ops/reconciliation", &[("limit", 500), ("after", after.unwrap_or(0))]).await?
    } else {
        client.post("/ops/reconciliation", &json!({})).await?
    };
    if output.json {
        output.print(&it);
    } else {
        say(&reconciliation(&it));
    }
    let failed = it.run.as_ref().is_some_and(|run| run.error.is_some());
    Ok(match it.findings.is_empty() {
        _ if failed => Code::Failed,
        true => Code::Ok,
        false => Code::NotCompleted,
    })
}

fn reconciliation(it: &Reconciliation) -> String {
    let Some(run) = &it.run else {
        return "it has not run yet: amends reconcile".to_owned();
    };
    let unread = run.error.as_ref().map(|error| format!("the books could not be read: {error}"));
    let unasked = match run.unasked {
        0 => String::new(),
        count => format!("; {count} old orders were too many to ask the vendor for in one run"),
    };
    match (&unread, it.findings.is_empty()) {
        (Some(unread), true) => return unread.clone(),
        (None, true) => {
            let (orders, ms) = (run.orders, run.took_ms);
            return format!("{orders} orders compared in {ms} ms: the books balance{unasked}");
        }
        (_, false) => {}
    }
    let rows = it.findings.iter().map(|f| {
        vec![
            f.kind.clone(),
            f.order_id.clone(),
            f.saga.map(|it| it.to_string()).unwrap_or_else(|| "-".to_owned()),
            f.amount.map(|number| amount(number, f.currency.as_deref())).unwrap_or_default(),
            f.words.clone(),
            f.suggested.clone(),
        ]
    });
    let heads = ["what", "order", "saga", "amount", "why", "suggested"];
    let compared = match unread {
        Some(unread) => format!("{unread}\nopen since the last run that could"),
        None => format!("{} orders compared{unasked}, {} findings are open", run.orders, it.open),
    };
    let more = it.next.map(|next| format!("\nmore: amends reconcile --after {next}")).unwrap_or_default();
    format!("{compared}\n{}{more}", table(&heads, rows.collect()))
}
