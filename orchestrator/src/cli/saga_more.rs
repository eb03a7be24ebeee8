//! `amends saga`: what can be done, replays, notes, owners, signals, erasing.

use std::collections::BTreeMap;

use clap::Subcommand;
use reqwest::Method;
use saga_protocol::SagaId;
use serde_json::{Value, json};

use super::client::{Client, Sent, query_of};
use super::exit::{Code, Failure};
use super::style::table;
use super::{Output, say};
use crate::api::can::ActionList;
use crate::api::care::{NoteRequest, OwnerRequest, OwnerView};
use crate::api::replay::{ReplayPlan, ReplayRequest, Replayed};
use crate::api::retention::{EraseRequest, Erased};
use crate::api::view::{NoteView, Signalled};

/// More about one saga.
#[derive(Debug, Subcommand)]
pub enum More {
    /// What can be done now, with its consequence, or why not
    Can {
        /// The saga
        id: SagaId,
    },
    /// Repeats an ended saga as a new one; without --why only shows the plan
    Replay {
        /// The saga
        id: SagaId,
        /// Why; it stands in the audit
        #[arg(long)]
        why: Option<String>,
        /// A fresh value: `/payment/payment_key=tk_…`; JSON, or a text
        #[arg(long, value_name = "POINTER=VALUE")]
        fresh: Vec<String>,
        /// A whole new input: a file, `-` or JSON
        #[arg(long)]
        input: Option<String>,
        /// Another version of the definition
        #[arg(long)]
        version: Option<String>,
        /// I know what the plan warns of
        #[arg(long)]
        acknowledge: bool,
        /// Repeating the command with the same key yields the same saga
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Writes a note on a saga
    Note {
        /// The saga
        id: SagaId,
        /// What
        text: String,
    },
    /// Says who looks after a saga; nobody when no name is given
    Owner {
        /// The saga
        id: SagaId,
        /// Who
        owner: Option<String>,
        /// Only if this one looks after it, or nobody (`--was ''`), as you have seen it
        #[arg(long, value_name = "OWNER")]
        was: Option<String>,
        /// Why
        #[arg(long)]
        why: String,
    },
    /// Signals a saga
    Signal {
        /// The saga
        id: SagaId,
        /// The signal's name
        name: String,
        /// Its payload: a file, `-` or JSON
        #[arg(long)]
        payload: Option<String>,
        /// Why; it stands in the audit
        #[arg(long)]
        why: String,
        /// Makes a repetition harmless
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Erases personal data of an ended saga
    Erase {
        /// The saga
        id: SagaId,
        /// Why; it stands in the audit
        #[arg(long)]
        why: String,
    },
}

fn key_header(key: Option<String>) -> Vec<(&'static str, String)> {
    key.map(|key| ("idempotency-key", key)).into_iter().collect()
}

fn bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|error| Failure::new(Code::Failed, error.to_string()))
}

fn parsed(given: &str) -> Result<Value, Failure> {
    serde_json::from_slice(&super::saga::document(given)?)
        .map_err(|error| Failure::usage(format!("not JSON: {error}")))
}

/// Runs it.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub async fn run(more: More, client: &Client, output: Output) -> Result<Code, Failure> {
    match more {
        More::Can { id } => {
            let it: ActionList = client.get(&format!("/sagas/{id}/actions")).await?;
            print(output, &it, || can(id, &it));
        }
        More::Replay { id, why: None, version, .. } => {
            let query = version.map(|version| format!("?{}", query_of(&[("version", &version)])));
            let it: ReplayPlan =
                client.get(&format!("/sagas/{id}/replay{}", query.unwrap_or_default())).await?;
            print(output, &it, || plan(&it));
            return Ok(if it.allowed { Code::Ok } else { Code::NotCompleted });
        }
        More::Replay { id, why: Some(why), fresh, input, version, acknowledge, idempotency_key } => {
            let fresh = fresh.iter().map(|it| pair(it)).collect::<Result<BTreeMap<_, _>, _>>()?;
            let input = input.as_deref().map(parsed).transpose()?;
            let request = ReplayRequest { why, input, fresh, version, acknowledged: acknowledge };
            let headers = key_header(idempotency_key);
            let body = bytes(&request)?;
            let path = format!("/sagas/{id}/replay");
            let it: Replayed = client.send(Method::POST, &path, &headers, Sent::Json(&body)).await?;
            print(output, &it, || {
                let verb = if it.repeated { "was replayed before, as" } else { "is replayed as" };
                format!("{id} {verb} {0}; follow it: amends saga watch {0}", it.saga)
            });
        }
        More::Note { id, text } => {
            let it: NoteView = client.post(&format!("/sagas/{id}/notes"), &NoteRequest { text }).await?;
            print(output, &it, || "noted".to_owned());
        }
        More::Owner { id, owner, was, why } => {
            let body = bytes(&OwnerRequest { owner, was, why })?;
            let path = format!("/sagas/{id}/owner");
            let it: OwnerView = client.send(Method::PUT, &path, &[], Sent::Json(&body)).await?;
            print(output, &it, || {
                it.owner
                    .as_ref()
                    .map_or_else(|| "nobody looks after it".to_owned(), |who| format!("{who} looks after it"))
            });
        }
        More::Signal { id, name, payload, why, idempotency_key } => {
            let body = payload.as_deref().map(parsed).transpose()?.map(|it| bytes(&it)).transpose()?;
            let sent = body.as_deref().map_or(Sent::Nothing, Sent::Json);
            let path = format!("/sagas/{id}/signals/{name}?{}", query_of(&[("why", &why)]));
            let it: Signalled = client.send(Method::POST, &path, &key_header(idempotency_key), sent).await?;
            let saga = client.saga(id).await?.summary;
            let status = output.style.status(&saga.status);
            let before = if it.repeated { " (it was sent before)" } else { "" };
            let reason = it.reason.as_deref().unwrap_or_default();
            print(output, &it, || match (it.result.as_str(), saga.ended_at) {
                ("ignored", _) => format!("ignored: {reason}; the saga is {status}{before}"),
                ("applied", Some(_)) => format!(
                    "it came too late: the saga is {status}, and an anomaly says what the signal reports{before}"
                ),
                ("applied", None) => {
                    format!(
                        "the saga has it, or keeps it until it comes to wait for `{name}`{before}; it is {status}"
                    )
                }
                _ => format!("kept, and not taken in yet; look: amends saga show {id}"),
            });
            if it.result == "ignored" {
                return Ok(Code::Ignored);
            }
        }
        More::Erase { id, why } => {
            let it: Erased = client.post(&format!("/sagas/{id}/erase"), &EraseRequest { why }).await?;
            print(output, &it, || format!("{} personal values of {id} are erased", it.places));
        }
    }
    Ok(Code::Ok)
}

fn print<T: serde::Serialize>(output: Output, it: &T, text: impl FnOnce() -> String) {
    if output.json { output.print(it) } else { say(&text()) }
}

fn pair(text: &str) -> Result<(String, Value), Failure> {
    let (pointer, value) =
        text.split_once('=').ok_or_else(|| Failure::usage(format!("`{text}` is not POINTER=VALUE")))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    Ok((pointer.to_owned(), value))
}

fn can(id: SagaId, it: &ActionList) -> String {
    let mut lines = vec![format!("revision {}, {}", it.revision, it.status)];
    let (allowed, refused): (Vec<_>, Vec<_>) = it.actions.iter().partition(|action| action.allowed);
    for action in allowed {
        let word = action.action.replace('_', "-");
        let mut command = format!("amends saga act {id} {word} --revision {} --why …", it.revision);
        if let Some(step) = &action.step {
            command.push_str(&format!(" --step {step}"));
        }
        if let Some(item) = action.item {
            command.push_str(&format!(" --item {item}"));
        }
        if action.direction.as_deref() == Some("compensate") && word != "mark-compensated" {
            command.push_str(" --compensation");
        }
        for need in action.needs.iter().filter(|need| *need != "why") {
            command.push_str(if need == "acknowledged" { " --acknowledge" } else { "" });
            if matches!(need.as_str(), "input" | "output" | "evidence") {
                command.push_str(&format!(" --{need} …"));
            }
        }
        lines.push(format!("\n{command}"));
        lines.extend(action.consequence.as_ref().map(|text| format!("  {text}")));
        if action.approval {
            lines.push("  A second person must approve it.".to_owned());
        }
        if !action.may_take_effect.is_empty() {
            lines.push(format!("  May still take effect: {}.", action.may_take_effect.join(", ")));
        }
    }
    if !refused.is_empty() {
        lines.push("\nnot now:".to_owned());
        lines.extend(refused.iter().map(|action| {
            let step = action.step.as_ref().map(|step| format!(" {step}")).unwrap_or_default();
            format!("  {}{step}: {}", action.action, action.refused.as_deref().unwrap_or("refused"))
        }));
    }
    lines.join("\n")
}

fn plan(it: &ReplayPlan) -> String {
    let mut lines = Vec::new();
    if let Some(reason) = &it.refused {
        lines.push(format!("it cannot be replayed: {reason}"));
    }
    if let Some(by) = it.replayed_by {
        lines.push(format!("it was replayed already, as {by}"));
    }
    let rows = it.steps.iter().map(|step| {
        vec![
            step.step.clone(),
            step.was.clone().unwrap_or_else(|| "-".to_owned()),
            step.plan.replace('_', " "),
        ]
    });
    lines.push(table(&["step", "was", "plan"], rows.collect()));
    lines.extend(it.warnings.iter().map(|warning| format!("careful: {warning} (--acknowledge)")));
    let fresh: Vec<String> = it.fresh.iter().map(|it| format!(" --fresh {}=…", it.pointer)).collect();
    if it.allowed && it.approval {
        lines.push("a second person has to approve it, so it goes by a job:".to_owned());
        let file = if it.fresh.is_empty() { "" } else { " --fresh fresh.json" };
        lines.push(format!("ask for it: amends ops job make replay --saga {} --why …{file}", it.saga));
        if !it.fresh.is_empty() {
            let values: serde_json::Map<String, Value> =
                it.fresh.iter().map(|it| (it.pointer.clone(), json!("…"))).collect();
            lines.push(format!("fresh.json: {}", json!({ it.saga.to_string(): values })));
        }
        lines.push("approve it, somebody else: amends ops job approve JOB --why …".to_owned());
    } else if it.allowed {
        lines.push(format!("do it: amends saga replay {} --why …{}", it.saga, fresh.join("")));
    }
    lines.join("\n")
}
