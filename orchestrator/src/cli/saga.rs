//! `amends saga`: start, list, show, watch and act, over the API.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand};
use reqwest::Method;
use saga_protocol::{Direction, SagaId};
use serde_json::{Value, json};

use super::client::{Client, Sent};
use super::exit::{Code, Failure};
use super::style::{self, Style, amount, span};
use super::timeline::Timeline;
use super::{Output, Server, say};
use crate::api::act::{Action, ActionRequest};
use crate::api::can::{ActionList, ActionOption};
use crate::api::care::FilterList;
use crate::api::headers::WAIT_MAX_S;
use crate::api::view::{Acted, SagaPage, SagaView, Started};

/// How often a watched saga is looked at: quickly while it moves, slowly while it waits.
const LOOK_MS: (u64, u64) = (100, 1_000);

/// Sagas: start, list, show, watch, act
#[derive(Debug, Args)]
pub struct SagaArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: SagaCommand,
}

#[derive(Debug, Subcommand)]
enum SagaCommand {
    /// Starts a saga and prints its id; with --wait its outcome
    Start(StartArgs),
    /// Lists sagas, newest first
    List(ListArgs),
    /// Shows one saga: its timeline, where it stands, and what happens next
    Show {
        /// The saga
        id: SagaId,
    },
    /// Follows one saga until it ends, or needs a human
    Watch {
        /// The saga
        id: SagaId,
    },
    /// Acts on a saga that needs a human; `amends saga can` says what is possible
    Act(Box<ActArgs>),
    #[command(flatten)]
    More(super::saga_more::More),
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The definition's name
    definition: String,
    /// The input: a file, `-` for standard input, or JSON itself
    #[arg(long, short, default_value = "-")]
    input: String,
    /// Repeating the command with the same key and input yields the same saga
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Waits until the saga ends or needs a human, and prints its timeline; exit code 4 unless it completed
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// running, parked, completed, compensated or abandoned
    #[arg(long)]
    status: Option<String>,
    /// Only of this definition
    #[arg(long)]
    definition: Option<String>,
    /// Only with this business key
    #[arg(long)]
    key: Option<String>,
    /// Only with this label of their definition
    #[arg(long, value_name = "NAME:VALUE")]
    label: Option<String>,
    /// Any other query of GET /sagas, such as `health=late&step=pay`
    #[arg(long)]
    filter: Option<String>,
    /// A saved filter, as `amends ops filters` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "filter")]
    saved: Option<String>,
    /// How many, at most 500
    #[arg(long, default_value_t = 50)]
    limit: u16,
    /// Only older than this saga
    #[arg(long)]
    after: Option<SagaId>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the action was applied, 1 it was refused (the saga is unchanged), 6 it was taken \
    in and changed nothing, 7 it is kept and was not taken in within 5 s, or waits for a second person (look at the saga)."
)]
struct ActArgs {
    /// The saga
    id: SagaId,
    /// What to do
    action: ActionWord,
    /// Why; it stands in the saga's history
    #[arg(long)]
    why: String,
    /// Who acts, where nobody needs to sign in; else it is who the token speaks for
    #[arg(long, env = "USER")]
    who: Option<String>,
    /// The revision that you looked at, as `amends saga can` shows it; refused when the saga has moved on
    #[arg(long)]
    revision: Option<u32>,
    /// The step
    #[arg(long)]
    step: Option<String>,
    /// The item of a foreach
    #[arg(long)]
    item: Option<u32>,
    /// Means the step's compensation, not its execute
    #[arg(long)]
    compensation: bool,
    /// The new input of retry-edited: a file, `-` or JSON
    #[arg(long)]
    input: Option<String>,
    /// The output of skip: a file, `-` or JSON
    #[arg(long)]
    output: Option<String>,
    /// What proves that it was compensated by hand
    #[arg(long)]
    evidence: Option<String>,
    /// I know that it may still take effect, or stays uncompensated
    #[arg(long)]
    acknowledge: bool,
    /// Waits so many seconds, 60 at most, for what follows from it
    #[arg(long, value_name = "S")]
    wait_s: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ActionWord {
    /// Try again now, from where it stopped
    Retry,
    /// Try again with another input
    RetryEdited,
    /// Take the step as done, with the given output
    Skip,
    /// Turn around: undo what was done
    Compensate,
    /// Go on undoing after a failed compensation
    ResumeCompensation,
    /// The compensation was done by hand
    MarkCompensated,
    /// End it here
    Abandon,
}

impl From<ActionWord> for Action {
    fn from(word: ActionWord) -> Self {
        match word {
            ActionWord::Retry => Self::Retry,
            ActionWord::RetryEdited => Self::RetryEdited,
            ActionWord::Skip => Self::Skip,
            ActionWord::Compensate => Self::Compensate,
            ActionWord::ResumeCompensation => Self::ResumeCompensation,
            ActionWord::MarkCompensated => Self::MarkCompensated,
            ActionWord::Abandon => Self::Abandon,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// With the exit code.
pub async fn run(args: SagaArgs, output: Output) -> Result<Code, Failure> {
    let client = args.server.client()?;
    match args.command {
        SagaCommand::Start(args) => start(&client, args, output).await,
        SagaCommand::List(args) => list(&client, args, output).await,
        SagaCommand::Show { id } => show(&client, id, output).await,
        SagaCommand::Watch { id } => watch(&client, id, output).await,
        SagaCommand::Act(args) => act(&client, *args, output).await,
        SagaCommand::More(more) => super::saga_more::run(more, &client, output).await,
    }
}

async fn start(client: &Client, args: StartArgs, output: Output) -> Result<Code, Failure> {
    let input = document(&args.input)?;
    let mut headers = Vec::new();
    headers.extend(args.idempotency_key.map(|key| ("idempotency-key", key)));
    if args.wait {
        headers.push(("prefer", format!("wait={WAIT_MAX_S}")));
    }
    let path = format!("/sagas/{}", args.definition);
    let started: Started = client.send(Method::POST, &path, &headers, Sent::Json(&input)).await?;
    for warning in &started.warnings {
        eprintln!("warning: {warning}");
    }
    if !args.wait {
        if output.json {
            output.print(&started);
        } else {
            say(&started.saga.to_string());
        }
        return Ok(Code::Ok);
    }
    let saga = settled(client, started.saga).await?;
    show_saga(client, &saga, output).await?;
    Ok(verdict(&saga))
}

/// The saga once it has ended, or needs a human.
async fn settled(client: &Client, id: SagaId) -> Result<SagaView, Failure> {
    let mut pause_ms = LOOK_MS.0;
    loop {
        let saga = client.saga(id).await?;
        if saga.summary.status != "running" {
            return Ok(saga);
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(LOOK_MS.1);
    }
}

fn verdict(saga: &SagaView) -> Code {
    if saga.summary.status == "completed" { Code::Ok } else { Code::NotCompleted }
}

async fn list(client: &Client, args: ListArgs, output: Output) -> Result<Code, Failure> {
    // Pairs: a query cannot spell an absent value.
    let words =
        [("status", args.status), ("definition", args.definition), ("key", args.key), ("label", args.label)];
    let mut query: Vec<(&str, String)> =
        words.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    query.push(("limit", args.limit.to_string()));
    query.extend(args.after.map(|after| ("after", after.to_string())));
    let rest = match args.saved {
        Some(name) => saved(client, &name).await?,
        None => args.filter.unwrap_or_default(),
    };
    let path = if rest.is_empty() {
        "/sagas".to_owned()
    } else {
        format!("/sagas?{}", rest.trim_start_matches('?'))
    };
    let page: SagaPage = client.query(&path, &query).await?;
    if output.json {
        output.print(&page);
    } else {
        say(&table(&page, output.style, Utc::now()));
    }
    Ok(Code::Ok)
}

/// A page of sagas as a table.
pub fn table(page: &SagaPage, style: Style, now: chrono::DateTime<Utc>) -> String {
    if page.sagas.is_empty() {
        return "no sagas".to_owned();
    }
    let rows = page.sagas.iter().map(|it| {
        let money = it.amount.map(|number| amount(number, it.currency.as_deref())).unwrap_or_default();
        let ago = format!("{} ago", span((now - it.started_at).num_milliseconds()));
        let (status, key) = (style.status(&it.status), it.key.clone().unwrap_or_default());
        vec![it.saga.to_string(), it.definition.clone(), status, money, ago, key]
    });
    let mut text =
        style::table(&["saga", "definition", "status", ">amount", ">started", "key"], rows.collect());
    if let Some(next) = page.next {
        text.push_str(&format!("\nmore: --after {next}"));
    }
    text
}

async fn show(client: &Client, id: SagaId, output: Output) -> Result<Code, Failure> {
    let saga = client.saga(id).await?;
    show_saga(client, &saga, output).await?;
    Ok(Code::Ok)
}

/// Prints a saga with its history.
///
/// # Errors
/// When the server cannot be asked.
pub async fn show_saga(client: &Client, saga: &SagaView, output: Output) -> Result<(), Failure> {
    let (history, letters) = client.history(saga.summary.saga, 0).await?;
    if output.json {
        output.print(&json!({ "saga": saga, "history": history, "dead_letters": letters }));
    } else {
        say(&Timeline::new(saga, output.style).whole(&history, &letters, Utc::now()));
    }
    Ok(())
}

async fn watch(client: &Client, id: SagaId, output: Output) -> Result<Code, Failure> {
    let mut saga = client.saga(id).await?;
    if !output.json {
        say(&Timeline::new(&saga, output.style).header());
    }
    let (mut seen, mut pause_ms) = (0, LOOK_MS.0);
    loop {
        // The saga first: when it has ended, the history that is read after it is whole.
        saga = client.saga(id).await?;
        let (events, _) = client.history(id, seen).await?;
        pause_ms = if events.is_empty() { (pause_ms * 2).min(LOOK_MS.1) } else { LOOK_MS.0 };
        for event in events {
            seen = event.revision;
            if output.json {
                output.print(&event);
            } else if let Some(line) = Timeline::new(&saga, output.style).line(&event) {
                say(&line);
            }
        }
        if saga.summary.status != "running" {
            if output.json {
                output.print(&saga);
            } else {
                say(&Timeline::new(&saga, output.style).footer(Utc::now()));
            }
            return Ok(verdict(&saga));
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// The query of a saved filter.
async fn saved(client: &Client, name: &str) -> Result<String, Failure> {
    let all: FilterList = client.get("/ops/filters").await?;
    let found = all.filters.into_iter().find(|it| it.name == name);
    found.map(|it| it.query).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("there is no filter `{name}`; `amends ops filters` lists them"))
    })
}

async fn act(client: &Client, args: ActArgs, output: Output) -> Result<Code, Failure> {
    let revision = args.revision.ok_or_else(|| {
        Failure::usage(format!(
            "say by --revision what you looked at: `amends saga can {}` prints the commands that are possible now",
            args.id
        ))
    })?;
    let parse = |text: Option<String>| -> Result<Option<Value>, Failure> {
        let Some(text) = text else { return Ok(None) };
        let bytes = document(&text)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::usage(format!("not JSON: {error}")))
    };
    let request = ActionRequest {
        action: args.action.into(),
        who: args.who,
        why: args.why,
        revision,
        step: args.step,
        item: args.item,
        direction: args.compensation.then_some(Direction::Compensate),
        input: parse(args.input)?,
        output: parse(args.output)?,
        evidence: args.evidence,
        acknowledged: args.acknowledge,
        wait_s: args.wait_s,
    };
    if let (Action::RetryEdited, Some(input), false) = (request.action, &request.input, output.json) {
        let can: ActionList = client.get(&format!("/sagas/{}/actions", args.id)).await?;
        let its = |it: &&ActionOption| {
            it.action == "retry_edited" && it.step == request.step && it.item == request.item
        };
        let before = can.actions.iter().find(its).and_then(|it| it.input.clone()).unwrap_or_default();
        let mut lines = Vec::new();
        difference("", &before, input, &mut lines);
        say(&if lines.is_empty() { "the input is as it was".to_owned() } else { lines.join("\n") });
    }
    let body = serde_json::to_vec(&request).map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    let acted: Acted =
        client.send(Method::POST, &format!("/sagas/{}/actions", args.id), &[], Sent::Json(&body)).await?;
    if output.json {
        output.print(&acted);
    } else {
        let reason = acted.reason.as_deref().map(|it| format!(" ({it})")).unwrap_or_default();
        say(&format!("{}{reason}; the saga is {}", acted.result, output.style.status(&acted.status)));
        if acted.result == "awaiting_approval" {
            say(&format!("a second person must approve it: amends ops approve {} --why …", acted.id));
        } else if acted.happened != acted.status && !acted.happened.is_empty() {
            say(&acted.happened);
        }
    }
    Ok(act_code(&acted.result))
}

/// What two inputs have differently, a line a place.
fn difference(at: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
                let at = format!("{at}/{name}");
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) => difference(&at, old, new, lines),
                    (Some(old), None) => lines.push(format!("- {at}: {old}")),
                    (None, Some(new)) => lines.push(format!("+ {at}: {new}")),
                    (None, None) => {}
                }
            }
        }
        _ if before == after => {}
        _ => lines.push(format!("~ {at}: {before} → {after}")),
    }
}

/// A script must not take for done what is not.
fn act_code(result: &str) -> Code {
    match result {
        "applied" => Code::Ok,
        "accepted" | "awaiting_approval" => Code::Pending,
        _ => Code::Ignored,
    }
}

/// A document given as a file, as `-` for standard input, or as JSON itself.
pub(super) fn document(given: &str) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |what: &str, error: std::io::Error| Failure::usage(format!("cannot read {what}: {error}"));
    if given == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| unreadable("standard input", error))?;
        return Ok(bytes);
    }
    if given.trim_start().starts_with(['{', '[', '"']) {
        return Ok(given.as_bytes().to_vec());
    }
    std::fs::read(Path::new(given)).map_err(|error| unreadable(given, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_input_is_shown_by_what_is_different() {
        let (before, after) = (
            serde_json::json!({ "id": 1, "card": { "key": "a", "old": true } }),
            serde_json::json!({ "id": 1, "card": { "key": "b" }, "note": "x" }),
        );
        let mut lines = Vec::new();
        difference("", &before, &after, &mut lines);
        assert_eq!(lines, ["~ /card/key: \"a\" → \"b\"", "- /card/old: true", "+ /note: \"x\""]);
    }

    #[test]
    fn an_action_is_a_success_only_when_it_was_applied() {
        assert_eq!(act_code("applied"), Code::Ok);
        assert_eq!(act_code("ignored"), Code::Ignored);
        assert_eq!(act_code("accepted"), Code::Pending);
    }
}
