//! What needs people, and who did what: looking only.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use saga_protocol::SagaId;

use super::ago;
use crate::api::audit::AuditPage;
use crate::api::care::FilterList;
use crate::api::labels::LabelList;
use crate::api::letters::{AnomalyPage, LetterPage, LetterView};
use crate::api::overview::{Overview, WorkerList};
use crate::api::queues::{AtRiskView, FailureGroup, FailurePage, WaitingPage};
use crate::api::view::Counts;
use crate::api::what_if::{WhatIf, WhatIfRequest};
use crate::cli::client::{Client, Sent};
use crate::cli::exit::{Code, Failure};
use crate::cli::style::{amount, span, table};
use crate::cli::{Output, say};

#[derive(Debug, Subcommand)]
pub(super) enum Look {
    /// Whether it is a good night: what runs, what fails, what is at risk, who is behind
    Overview {
        /// How many minutes back, at most 1,440
        #[arg(long, default_value_t = 60)]
        minutes: u16,
    },
    /// The parked queue, anomalies included: the largest amounts first
    Parked {
        /// amount, age (the oldest first) or -age
        #[arg(long, default_value = "amount", allow_hyphen_values = true)]
        sort: String,
        /// Only of this definition
        #[arg(long)]
        definition: Option<String>,
        /// Only what this person looks after
        #[arg(long)]
        owner: Option<String>,
        /// How many, at most 500
        #[arg(long, default_value_t = 50)]
        limit: u16,
        /// Goes on after the page before
        #[arg(long)]
        after: Option<String>,
    },
    /// Groups of failures that are the same, those seen last first; or one group
    Failures {
        /// One group
        id: Option<String>,
        /// Only of this definition
        #[arg(long)]
        definition: Option<String>,
        /// Also groups that nobody fails with any more
        #[arg(long)]
        all: bool,
        /// Goes on after the page before
        #[arg(long)]
        after: Option<String>,
    },
    /// How many sagas there are, by the query of `amends saga list --filter`
    Count {
        /// Such as `status=parked&step=pay`
        #[arg(default_value = "")]
        filter: String,
    },
    /// The workers with their lag
    Workers,
    /// The labels that sagas have: names, or with a colon in BEGIN their values
    Labels {
        /// How they begin: `reg`, or `region:se`
        #[arg(default_value = "")]
        begin: String,
    },
    /// Effects that nobody undoes
    Anomalies {
        /// Also those that were settled
        #[arg(long)]
        all: bool,
        /// Goes on after the page before
        #[arg(long)]
        after: Option<String>,
    },
    /// What could not be understood or answered; or one letter
    DeadLetters {
        /// One letter, with its contents
        id: Option<i64>,
        /// Only of this saga
        #[arg(long)]
        saga: Option<SagaId>,
        /// kept, sent or discarded
        #[arg(long)]
        state: Option<String>,
        /// Goes on after the page before
        #[arg(long)]
        after: Option<i64>,
    },
    /// Who did what, why and when
    Audit {
        /// Only by this person
        #[arg(long)]
        who: Option<String>,
        /// Only this deed, such as saga.retry; `saga.` is every one that begins so
        #[arg(long)]
        what: Option<String>,
        /// Only to this saga, hold or job
        #[arg(long)]
        target: Option<String>,
        /// Not before
        #[arg(long, value_name = "INSTANT")]
        after_at: Option<DateTime<Utc>>,
        /// Only before
        #[arg(long, value_name = "INSTANT")]
        before_at: Option<DateTime<Utc>>,
        /// How many, at most 500
        #[arg(long, default_value_t = 50)]
        limit: u16,
        /// Goes on after the page before
        #[arg(long, conflicts_with = "export")]
        after: Option<i64>,
        /// All of it, the newest first, one JSON document a line
        #[arg(long)]
        export: bool,
    },
    /// Saved filters
    Filters,
    /// What would have come of past sagas with another definition: their recorded answers, in a simulation
    WhatIf {
        /// The candidate: a YAML file
        definition: std::path::PathBuf,
        /// Which sagas: a query such as `status=compensated&step=pay`
        #[arg(long, default_value = "status=compensated")]
        filter: String,
        /// How many, at most 1,000
        #[arg(long, default_value_t = 100)]
        limit: i64,
    },
}

pub(super) async fn run(look: Look, client: &Client, output: Output) -> Result<Code, Failure> {
    let pairs = |all: Vec<(&'static str, Option<String>)>| -> Vec<(&'static str, String)> {
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    };
    match look {
        Look::Overview { minutes } => {
            let it: Overview = client.query("/ops/overview", &[("minutes", minutes)]).await?;
            show(output, &it, || overview(&it));
        }
        Look::Parked { sort, definition, owner, limit, after } => {
            let query = pairs(vec![
                ("sort", Some(sort)),
                ("definition", definition),
                ("owner", owner),
                ("limit", Some(limit.to_string())),
                ("after", after),
            ]);
            let it: WaitingPage = client.query("/ops/parked", &query).await?;
            show(output, &it, || parked(&it));
        }
        Look::Failures { id: Some(id), .. } => {
            let it: FailureGroup = client.get(&format!("/ops/failures/{id}")).await?;
            show(output, &it, || failures(std::slice::from_ref(&it)));
        }
        Look::Failures { id: None, definition, all, after } => {
            let query =
                pairs(vec![("definition", definition), ("open", Some((!all).to_string())), ("after", after)]);
            let it: FailurePage = client.query("/ops/failures", &query).await?;
            show(output, &it, || more(failures(&it.failures), it.next.as_ref()));
        }
        Look::Count { filter } => {
            let it: Counts = client.get(&format!("/ops/counts?{}", filter.trim_start_matches('?'))).await?;
            show(output, &it, || counts(&it));
        }
        Look::Workers => {
            let it: WorkerList = client.get("/ops/workers").await?;
            show(output, &it, || workers(&it));
        }
        Look::Labels { begin } => {
            let it: LabelList =
                client.query("/ops/labels", &[("begin", begin), ("limit", "500".into())]).await?;
            let all = || [it.names.clone(), it.labels.clone()].concat();
            show(output, &it, || match all() {
                none if none.is_empty() => "no labels begin so".to_owned(),
                all => all.join("\n"),
            });
        }
        Look::Anomalies { all, after } => {
            let query = pairs(vec![("open", Some((!all).to_string())), ("after", after)]);
            let it: AnomalyPage = client.query("/ops/anomalies", &query).await?;
            show(output, &it, || more(anomalies(&it), it.next.as_ref()));
        }
        Look::DeadLetters { id: Some(id), .. } => {
            let it: LetterView = client.get(&format!("/ops/dead-letters/{id}")).await?;
            show(output, &it, || letter(&it));
        }
        Look::DeadLetters { id: None, saga, state, after } => {
            let query = pairs(vec![
                ("saga", saga.map(|it| it.to_string())),
                ("state", state),
                ("after", after.map(|it| it.to_string())),
            ]);
            let it: LetterPage = client.query("/ops/dead-letters", &query).await?;
            show(output, &it, || letters(&it));
        }
        Look::Audit { who, what, target, after_at, before_at, limit, after, export } => {
            let mut query = pairs(vec![
                ("who", who),
                ("what", what),
                ("target", target),
                ("after_at", after_at.map(|it| it.to_rfc3339())),
                ("before_at", before_at.map(|it| it.to_rfc3339())),
            ]);
            if export {
                return client.copy("/ops/audit/export", &query).await.map(|()| Code::Ok);
            }
            query.extend(pairs(vec![
                ("limit", Some(limit.to_string())),
                ("after", after.map(|it| it.to_string())),
            ]));
            let it: AuditPage = client.query("/ops/audit", &query).await?;
            show(output, &it, || audit(&it));
        }
        Look::Filters => {
            let it: FilterList = client.get("/ops/filters").await?;
            let rows = |it: &FilterList| {
                it.filters.iter().map(|f| vec![f.name.clone(), f.by.clone(), f.query.clone()]).collect()
            };
            show(output, &it, || table(&["filter", "by", "query"], rows(&it)));
        }
        Look::WhatIf { definition, filter, limit } => {
            let text = std::fs::read_to_string(&definition)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", definition.display())))?;
            let request = WhatIfRequest {
                filter: Some(filter),
                definition: Some(text),
                limit: Some(limit),
                ..WhatIfRequest::default()
            };
            let body = serde_json::to_vec(&request)
                .map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
            let it: WhatIf =
                client.send(reqwest::Method::POST, "/ops/what-if", &[], Sent::Json(&body)).await?;
            show(output, &it, || what_if(&it));
        }
    }
    Ok(Code::Ok)
}

pub(super) fn show<T: serde::Serialize>(output: Output, it: &T, text: impl FnOnce() -> String) {
    if output.json { output.print(it) } else { say(&text()) }
}

fn money(all: &[AtRiskView]) -> String {
    let each = all.iter().map(|it| format!("{} in {}", amount(it.amount, it.currency.as_deref()), it.sagas));
    let each: Vec<String> = each.collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}

fn overview(it: &Overview) -> String {
    let now = &it.now;
    let mut lines = vec![
        format!(
            "{} run: {} late, {} queued, {} waiting, {} retrying; {} parked, {} anomalies",
            now.running, now.late, now.queued, now.waiting, now.retrying, now.parked, now.anomalies
        ),
        format!("at risk: {}", money(&it.at_risk)),
        format!(
            "to the end: p50 {} ms, p99 {} ms ({} sagas)",
            ms(it.to_end.p50_ms),
            ms(it.to_end.p99_ms),
            it.to_end.samples
        ),
    ];
    for hold in &it.holds {
        lines.push(format!(
            "HELD: {} since {} by {}: {}",
            held(hold),
            ago(hold.at, it.at),
            hold.by,
            hold.why
        ));
    }
    if it.approvals > 0 {
        lines.push(format!("{} actions wait for a second person: amends ops approvals", it.approvals));
    }
    if it.dead_letters > 0 {
        lines.push(format!("{} dead letters: amends ops dead-letters", it.dead_letters));
    }
    if !it.in_flight.is_empty() {
        let rows = it.in_flight.iter().take(15).map(|p| {
            let at = format!("{} {} ({})", p.definition, p.step, p.direction);
            let counts = [p.count, p.late, p.queued, p.waiting, p.retrying, p.parked].map(|n| n.to_string());
            let mut row = vec![at];
            row.extend(counts);
            row.push(ago(p.oldest_since, it.at));
            row
        });
        let heads = ["where", "sagas", "late", "queued", "waiting", "retrying", "parked", "oldest"];
        lines.extend([String::new(), table(&heads, rows.collect())]);
    }
    if !it.failures.is_empty() {
        lines.extend([String::new(), failures(&it.failures)]);
    }
    for worker in it.workers.iter().filter(|it| it.lag_ms > 0 || it.instances == 0) {
        lines.push(format!(
            "worker {}: {} instances, {} behind",
            worker.worker,
            worker.instances,
            span(worker.lag_ms)
        ));
    }
    lines.join("\n")
}

fn ms(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

pub(super) fn held(hold: &crate::api::holds::HoldView) -> String {
    match (&hold.definition, &hold.worker, &hold.action) {
        (Some(definition), ..) => format!("definition {definition}"),
        (None, Some(worker), Some(action)) => format!("{worker}.{action}"),
        (None, Some(worker), None) => format!("every action of {worker}"),
        _ => "all starts".to_owned(),
    }
}

/// A table, and how to get what comes after it.
fn more(mut text: String, next: Option<impl std::fmt::Display>) -> String {
    if let Some(next) = next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

fn parked(it: &WaitingPage) -> String {
    if it.parked.is_empty() {
        return "nothing needs a human".to_owned();
    }
    let rows = it.parked.iter().map(|p| {
        let at = p.step.clone().unwrap_or_else(|| p.anomaly.as_ref().map_or("-".into(), |a| a.kind.clone()));
        vec![
            p.saga.to_string(),
            p.amount.map(|number| amount(number, p.currency.as_deref())).unwrap_or_default(),
            span(p.age_s * 1_000),
            at,
            p.suggested.clone(),
            p.owner.clone().unwrap_or_else(|| "-".to_owned()),
            p.message.chars().take(80).collect(),
        ]
    });
    let heads = ["saga", "amount", "for", "at", "suggested", "owner", "why"];
    let mut text = format!("at risk: {}\n{}", money(&it.at_risk), table(&heads, rows.collect()));
    if let Some(next) = &it.next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

fn failures(all: &[FailureGroup]) -> String {
    if all.is_empty() {
        return "no failures".to_owned();
    }
    let now = Utc::now();
    let rows = all.iter().map(|f| {
        vec![
            f.id.clone(),
            format!("{}{}", f.definition, f.step.as_ref().map(|step| format!(" {step}")).unwrap_or_default()),
            f.code.clone(),
            f.kind.clone().unwrap_or_else(|| "-".to_owned()),
            f.count.to_string(),
            format!("{}/{}/{}", f.now.retrying, f.now.parked, f.now.compensated),
            f.recovered.to_string(),
            ago(f.since, now),
            ago(f.last_seen, now),
            f.message.chars().take(60).collect(),
        ]
    });
    let heads = [
        "group",
        "where",
        "code",
        "kind",
        "failures",
        "retry/parked/undone",
        "recovered",
        "since",
        "last",
        "message",
    ];
    let text = table(&heads, rows.collect());
    format!(
        "{text}\nafter the fix, retry those that are parked: amends ops job make retry --filter 'failure=GROUP&status=parked' --why …\n\
         and repeat those that were undone: amends ops job make replay --filter 'failure=GROUP&status=compensated' --why …"
    )
}

fn counts(it: &Counts) -> String {
    let count = |it: &crate::api::view::Count| format!("{}{}", it.count, if it.capped { "+" } else { "" });
    let (s, h) = (&it.by_status, &it.by_health);
    format!(
        "{} sagas: {} running, {} parked, {} completed, {} compensated, {} abandoned\n\
         of those that run: {} on time, {} late, {} queued, {} waiting, {} retrying",
        count(&it.total),
        count(&s.running),
        count(&s.parked),
        count(&s.completed),
        count(&s.compensated),
        count(&s.abandoned),
        h.on_time,
        h.late,
        h.queued,
        h.waiting,
        h.retrying
    )
}

fn workers(it: &WorkerList) -> String {
    if it.workers.is_empty() {
        return "no worker has announced itself".to_owned();
    }
    let rows = it.workers.iter().map(|w| {
        let alive = w.instances.iter().filter(|it| it.alive).count();
        let lag = w.topics.iter().map(|it| it.lag_ms).max().unwrap_or(0);
        let actions: Vec<&str> = w.actions.iter().map(|it| it.action.as_str()).collect();
        let living = || w.instances.iter().filter(|it| it.alive);
        let answered = living().filter_map(|it| it.answered_per_minute).reduce(|a, b| a + b);
        let known = || living().filter_map(|it| it.breakers.as_ref());
        let open: BTreeSet<String> = known()
            .flatten()
            .filter(|it| it.state != "closed")
            .map(|it| format!("{} {}", it.action, it.state.replace('_', " ")))
            .collect();
        vec![
            w.worker.clone(),
            format!("{alive} of {}", w.instances.len()),
            if lag > 0 { span(lag) } else { "none".to_owned() },
            w.open.to_string(),
            answered.map_or_else(|| "-".to_owned(), |it| it.to_string()),
            match (open.is_empty(), known().count(), known().flatten().count()) {
                (false, ..) => Vec::from_iter(open).join(", "),
                (true, 0, _) => "-".to_owned(),
                (true, _, 0) => "none".to_owned(),
                _ => "closed".to_owned(),
            },
            actions.join(", "),
        ]
    });
    table(&["worker", "alive", "lag", "open", "a minute", "breakers", "actions"], rows.collect())
}

fn anomalies(it: &AnomalyPage) -> String {
    if it.anomalies.is_empty() {
        return "no anomalies".to_owned();
    }
    let now = Utc::now();
    let rows = it.anomalies.iter().map(|a| {
        vec![
            a.saga.to_string(),
            a.kind.clone(),
            a.amount.map(|number| amount(number, a.currency.as_deref())).unwrap_or_default(),
            ago(a.at, now),
            a.resolved_by.as_ref().map_or_else(|| "open".to_owned(), |by| format!("settled by {by}")),
            a.effect_key.clone(),
        ]
    });
    table(&["saga", "what", "amount", "found", "state", "effect"], rows.collect())
}

fn letters(it: &LetterPage) -> String {
    if it.dead_letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let now = Utc::now();
    let rows = it.dead_letters.iter().map(|l| {
        vec![
            l.id.to_string(),
            ago(l.at, now),
            l.state.clone(),
            if l.resendable { "yes" } else { "no" }.to_owned(),
            l.saga.map(|it| it.to_string()).unwrap_or_else(|| "-".to_owned()),
            l.reason.chars().take(80).collect(),
        ]
    });
    let mut text = table(&["letter", "came", "state", "resend", "saga", "why"], rows.collect());
    if let Some(next) = it.next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

fn letter(l: &LetterView) -> String {
    let mut lines = vec![format!("letter {} ({}), from {}: {}", l.id, l.state, l.source, l.reason)];
    lines.extend(l.headers.iter().map(|(name, value)| format!("  {name}: {value}")));
    lines.extend(l.data.clone());
    if l.state == "kept" {
        let resend = if l.resendable { "amends ops resend" } else { "(it cannot be sent again)" };
        lines.push(format!("settle it: {resend} {0} --why …, or amends ops discard {0} --why …", l.id));
    }
    lines.join("\n")
}

fn audit(it: &AuditPage) -> String {
    if it.entries.is_empty() {
        return "nothing in the audit".to_owned();
    }
    let rows = it.entries.iter().map(|e| {
        vec![
            e.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            e.who.clone(),
            e.what.clone(),
            e.target.clone(),
            e.why.clone().unwrap_or_default(),
            e.after.as_ref().map(ToString::to_string).unwrap_or_default().chars().take(60).collect(),
        ]
    });
    let mut text = table(&["when (UTC)", "who", "what", "to", "why", "outcome"], rows.collect());
    if let Some(next) = it.next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

fn what_if(it: &WhatIf) -> String {
    let would = &it.would;
    let mut text = format!(
        "of {} sagas {} would have completed, {} parked, {} been compensated; of {} nobody knows",
        it.sagas, would.completed, would.parked, would.compensated, would.unknown
    );
    if !it.items.is_empty() {
        let rows = it.items.iter().map(|item| {
            let assumed = if item.assumed.is_empty() {
                String::new()
            } else {
                format!(" (taking as succeeded: {})", item.assumed.join(", "))
            };
            vec![
                item.saga.to_string(),
                item.was.clone(),
                item.would.clone(),
                format!("{}{assumed}", item.because),
            ]
        });
        text.push('\n');
        text.push_str(&table(&["saga", "was", "would be", "because"], rows.collect()));
    }
    text
}
