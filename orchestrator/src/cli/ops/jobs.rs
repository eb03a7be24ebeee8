//! Bulk jobs: preview, make, watch and steer them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand};
use saga_protocol::SagaId;
use serde_json::Value;
use uuid::Uuid;

use super::ago;
use super::look::show;
use crate::api::jobs::steering::SteerRequest;
use crate::api::jobs::views::{JobItems, JobList, JobPreview, JobView};
use crate::cli::client::Client;
use crate::cli::exit::{Code, Failure};
use crate::cli::style::{amount, table};
use crate::cli::{Output, say};
use crate::jobs::JobRequest;

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// What a job would do; nothing is changed
    Preview(MakeArgs),
    /// Makes a job: it runs on the server
    Make(MakeArgs),
    /// Jobs, newest first
    List,
    /// One job
    Show {
        /// The job
        id: Uuid,
    },
    /// What became of each saga
    Items {
        /// The job
        id: Uuid,
        /// succeeded, failed_again, changed, refused, awaiting_approval, waiting or acting
        #[arg(long)]
        outcome: Option<String>,
        /// Goes on after the page before
        #[arg(long, default_value_t = 0)]
        after: i32,
    },
    /// Follows a job until it has ended, stopped, or waits for a second person; exit code 4 unless every saga succeeded
    Watch {
        /// The job
        id: Uuid,
    },
    /// Begins nothing more
    Pause(SteerArgs),
    /// Goes on
    Resume(SteerArgs),
    /// Ends it
    Cancel(SteerArgs),
    /// As a second person, lets it act where a definition asks for two
    Approve(SteerArgs),
}

#[derive(Debug, Args)]
struct SteerArgs {
    /// The job
    id: Uuid,
    /// Why; it stands in the audit
    #[arg(long)]
    why: String,
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// What to do
    what: What,
    /// Which sagas: a query such as `status=parked&failure=7d1f…`
    #[arg(long, required_unless_present = "sagas", conflicts_with = "sagas")]
    filter: Option<String>,
    /// Or this saga; may be given again
    #[arg(long = "saga", value_name = "SAGA")]
    sagas: Vec<SagaId>,
    /// Why; it stands in every saga's history
    #[arg(long, default_value = "")]
    why: String,
    /// So many first, before the rest
    #[arg(long)]
    canary: Option<u32>,
    /// Sagas a second
    #[arg(long, value_name = "N")]
    rate_per_s: Option<u32>,
    /// Stops when the same failure comes so many times in a row
    #[arg(long, value_name = "N")]
    stop_after_same: Option<u32>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// For replay: another version of the definition
    #[arg(long)]
    version: Option<String>,
    /// Nothing is made when it would be more sagas: give what the preview said
    #[arg(long, value_name = "N")]
    sagas_max: Option<u32>,
    /// For replay: what every input is changed by, as JSON: `{"delivery": {"method": "pickup"}}`; null removes
    #[arg(long, value_name = "JSON")]
    merge: Option<String>,
    /// For replay: a JSON file of fresh values, `{ "SAGA": { "/payment/payment_key": "…" } }`
    #[arg(long, value_name = "FILE")]
    fresh: Option<std::path::PathBuf>,
    /// I know what abandoning leaves undone, or what a replay repeats
    #[arg(long)]
    acknowledge: bool,
    /// Follows it, as `watch` does
    #[arg(long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// Try again from where each stopped
    Retry,
    /// Undo
    Compensate,
    /// Go on undoing
    ResumeCompensation,
    /// End them
    Abandon,
    /// Repeat compensated ones as new sagas
    Replay,
}

impl MakeArgs {
    fn request(self) -> Result<JobRequest, Failure> {
        let action = match self.what {
            What::Retry => Some("retry"),
            What::Compensate => Some("compensate"),
            What::ResumeCompensation => Some("resume_compensation"),
            What::Abandon => Some("abandon"),
            What::Replay => None,
        };
        let fresh: BTreeMap<String, BTreeMap<String, Value>> = match &self.fresh {
            None => BTreeMap::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
                serde_json::from_str(&text)
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
            }
        };
        let merge = self.merge.as_deref().map(serde_json::from_str);
        let merge =
            merge.transpose().map_err(|error| Failure::usage(format!("--merge is not JSON: {error}")))?;
        Ok(JobRequest {
            kind: if action.is_some() { "action" } else { "replay" }.to_owned(),
            action: action.map(str::to_owned),
            filter: self.filter,
            sagas: (!self.sagas.is_empty()).then_some(self.sagas),
            why: self.why,
            acknowledged: self.acknowledge,
            canary: self.canary,
            rate_per_s: self.rate_per_s,
            stop_after_same: self.stop_after_same,
            name: self.name,
            version: self.version,
            sagas_max: self.sagas_max,
            merge,
            fresh,
        })
    }
}

pub(super) async fn run(args: JobArgs, client: &Client, output: Output) -> Result<Code, Failure> {
    match args.command {
        JobCommand::Preview(args) => {
            let mut request = args.request()?;
            if request.why.is_empty() {
                // Nobody is asked why they look.
                "preview".clone_into(&mut request.why);
            }
            let it: JobPreview = client.post("/ops/jobs/preview", &request).await?;
            show(output, &it, || preview(&it));
        }
        JobCommand::Make(args) => {
            let follow = args.watch;
            let it: JobView = client.post("/ops/jobs", &args.request()?).await?;
            if follow {
                return watch(client, it.id, output).await;
            }
            show(output, &it, || format!("{}\nfollow it: amends ops job watch {}", job(&it), it.id));
        }
        JobCommand::List => {
            let it: JobList = client.get("/ops/jobs").await?;
            show(output, &it, || list(&it));
        }
        JobCommand::Show { id } => {
            let it: JobView = client.get(&format!("/ops/jobs/{id}")).await?;
            show(output, &it, || job(&it));
        }
        JobCommand::Items { id, outcome, after } => {
            let mut query = vec![("limit", "500".to_owned()), ("after", after.to_string())];
            query.extend(outcome.map(|it| ("outcome", it)));
            let it: JobItems = client.query(&format!("/ops/jobs/{id}/items"), &query).await?;
            show(output, &it, || items(&it));
        }
        JobCommand::Watch { id } => return watch(client, id, output).await,
        JobCommand::Pause(args) => steer(client, args, "pause", output).await?,
        JobCommand::Resume(args) => steer(client, args, "resume", output).await?,
        JobCommand::Cancel(args) => steer(client, args, "cancel", output).await?,
        JobCommand::Approve(args) => steer(client, args, "approve", output).await?,
    }
    Ok(Code::Ok)
}

async fn steer(client: &Client, args: SteerArgs, word: &str, output: Output) -> Result<(), Failure> {
    let path = format!("/ops/jobs/{}/{word}", args.id);
    let it: JobView = client.post(&path, &SteerRequest { why: args.why }).await?;
    show(output, &it, || job(&it));
    Ok(())
}

async fn watch(client: &Client, id: Uuid, output: Output) -> Result<Code, Failure> {
    let mut said = String::new();
    loop {
        let it: JobView = client.get(&format!("/ops/jobs/{id}")).await?;
        let over = matches!(it.state.as_str(), "done" | "cancelled" | "stopped" | "paused")
            || waits_for_approval(&it);
        let line = progress(&it);
        if line != said && !output.json {
            say(&line);
        }
        said = line;
        if over {
            show(output, &it, || job(&it));
            let all = it.counts.succeeded == it.counts.total;
            return Ok(if all { Code::Ok } else { Code::NotCompleted });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn progress(it: &JobView) -> String {
    let c = &it.counts;
    format!(
        "{}: {} of {} now succeeded, {} failed again, {} changed, {} refused, {} await approval, {} under way, {} to go",
        it.state,
        c.succeeded,
        c.total,
        c.failed_again,
        c.changed,
        c.refused,
        c.awaiting_approval,
        c.acting,
        c.waiting
    )
}

fn job(it: &JobView) -> String {
    let what = it.action.clone().unwrap_or_else(|| it.kind.clone());
    let mut lines = vec![
        format!("job {} ({what}) by {} {}: {}", it.id, it.by, ago(it.created_at, Utc::now()), it.why),
        progress(it),
    ];
    lines.extend(
        it.amount
            .iter()
            .map(|sum| format!("  {} in {} sagas", amount(sum.amount, sum.currency.as_deref()), sum.sagas)),
    );
    lines.extend(it.filter.iter().map(|filter| format!("  found by {filter}")));
    lines.extend(it.version.iter().map(|version| format!("  on version {version}")));
    lines.extend(it.merge.iter().map(|merge| format!("  each input changed by {merge}")));
    if !it.fresh.is_empty() {
        lines.push(format!("  with fresh values for {}", it.fresh.join(", ")));
    }
    if it.acknowledged {
        lines.push(format!("  {} knows what stays undone, or is repeated", it.by));
    }
    lines.extend(it.approved_by.iter().map(|by| format!("  approved by {by}")));
    lines.extend(it.stalled.iter().map(|why| format!("it does not come along: {why}")));
    if let Some(because) = &it.stopped_because {
        lines.push(format!("stopped by itself: {because}"));
        lines.push(format!(
            "go on: amends ops job resume {0} --why …, or end it: amends ops job cancel {0} --why …",
            it.id
        ));
    }
    if waits_for_approval(it) {
        lines.push(format!(
            "somebody else than {} lets it go on: amends ops job approve {} --why …",
            it.by, it.id
        ));
    }
    lines.extend(it.reasons.iter().map(|reason| format!("  {} × {}", reason.sagas, reason.reason)));
    lines.join("\n")
}

/// Whether nothing goes on until a second person has approved it.
fn waits_for_approval(it: &JobView) -> bool {
    let c = &it.counts;
    matches!(it.state.as_str(), "canary" | "running")
        && c.awaiting_approval > 0
        && c.waiting == 0
        && c.acting == 0
        && it.approved_by.is_none()
}

fn list(it: &JobList) -> String {
    if it.jobs.is_empty() {
        return "no jobs".to_owned();
    }
    let now = Utc::now();
    let rows = it.jobs.iter().map(|j| {
        vec![
            j.id.to_string(),
            j.state.clone(),
            j.action.clone().unwrap_or_else(|| j.kind.clone()),
            format!("{} of {}", j.counts.succeeded, j.counts.total),
            j.by.clone(),
            ago(j.created_at, now),
            j.why.clone(),
        ]
    });
    table(&["job", "state", "what", "succeeded", "by", "made", "why"], rows.collect())
}

fn items(it: &JobItems) -> String {
    let rows = it.items.iter().map(|i| {
        vec![
            i.number.to_string(),
            i.saga.to_string(),
            i.key.clone().unwrap_or_default(),
            i.words.clone().unwrap_or_else(|| i.outcome.clone()),
            i.new_saga.map(|it| it.to_string()).unwrap_or_default(),
        ]
    });
    let mut text = table(&["#", "saga", "key", "what happened", "replayed by"], rows.collect());
    if let Some(next) = it.next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

fn preview(it: &JobPreview) -> String {
    let mut lines = vec![format!("{} sagas would be acted on", it.sagas)];
    for sum in &it.amount {
        lines.push(format!("  {} in {} sagas", amount(sum.amount, sum.currency.as_deref()), sum.sagas));
    }
    lines.extend(it.by_step.iter().map(|at| format!("  {} at {}", at.sagas, at.step)));
    lines.extend(
        it.uncompensated.iter().map(|at| format!("  {} stays undone in {} sagas", at.step, at.sagas)),
    );
    lines.extend(it.excluded.iter().map(|out| format!("left out: {} ({})", out.sagas, out.reason)));
    if !it.needs_fresh.is_empty() {
        lines.push(format!("each needs fresh values: {} (--fresh FILE)", it.needs_fresh.join(", ")));
    }
    if it.approval > 0 {
        lines.push(format!("{} will wait for a second person", it.approval));
    }
    lines.extend(it.sample.iter().map(|saga| {
        let error = saga.error.as_ref().map(|it| it.code.clone()).unwrap_or_default();
        format!("  {} {} {error}", saga.saga, saga.status)
    }));
    lines.join("\n")
}
