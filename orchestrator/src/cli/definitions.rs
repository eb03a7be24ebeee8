//! `amends def`: everything about definitions but their proof; publishing and listing are here.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use saga_core::Definition;
use saga_core::check::Depth;
use saga_core::definition::load;

use super::check::combined;
use super::client::{Client, Sent};
use super::exit::{Code, Failure};
use super::style::table;
use super::{Output, Server, author, say, versions};
use crate::api::view::{CanaryRequest, DefinitionList, DefinitionSummary, PublishedView};
use crate::store::definitions::children_of;

/// Definitions: new, fmt, graph, diff, show, publish, list, schema
#[derive(Debug, Args)]
pub struct DefArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: DefCommand,
}

#[derive(Debug, Subcommand)]
enum DefCommand {
    /// Publishes definitions: from now on new sagas take them, running ones stay on their versions
    Publish {
        /// YAML files, a definition each
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Publishes also what is not proved, for this reason, which is recorded
        #[arg(long, value_name = "REASON")]
        waive: Option<String>,
        /// Publishes for a share of the starts, such as 10%: the current version takes the others, until the canary is
        /// promoted or withdrawn
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        canary: Option<u8>,
        /// Publishes only if this is the current version still, as `amends def show NAME` prints it, or at least 8 of its
        /// first digits; `none` if there shall be none of this name yet
        #[arg(long, value_name = "VERSION")]
        over: Option<String>,
    },
    /// Makes a canary the current version: from now on it takes all starts
    Promote(CanaryArgs),
    /// Ends a canary: from now on the current version takes all starts
    Withdraw(CanaryArgs),
    /// Lists the definitions that sagas can be started from
    List,
    /// Shows a definition with its versions, and how many sagas each still has
    Show(versions::ShowArgs),
    /// Writes a definition and its scenarios to begin with
    New(author::NewArgs),
    /// Spells files as all are spelled; comments and meaning stay
    Fmt(author::FmtArgs),
    /// Draws a definition
    Graph(versions::GraphArgs),
    /// Shows what two versions have differently
    Diff(versions::DiffArgs),
    /// Prints the JSON Schema of the language, for editors
    Schema,
}

#[derive(Debug, Args)]
struct CanaryArgs {
    /// The definition
    name: String,
    /// The canary's version, or at least 8 of its first digits, as `amends def show NAME` prints it
    version: String,
    /// Why; it stands in the audit
    #[arg(long, value_name = "REASON")]
    why: Option<String>,
}

/// `10` or `10%`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|it| (1..=99).contains(it));
    number.ok_or_else(|| "write 1% to 99%".to_owned())
}

/// Runs the command.
///
/// # Errors
/// With the exit code.
pub async fn run(args: DefArgs, output: Output) -> Result<Code, Failure> {
    let client = args.server.client()?;
    match args.command {
        DefCommand::Publish { files, over: Some(_), .. } if files.len() > 1 => {
            Err(Failure::usage("--over is of one definition: give one file".to_owned()))
        }
        DefCommand::Publish { files, waive, canary, over } => {
            let canary = canary.map(|it| it.to_string());
            let how = [("waive", waive.as_deref()), ("canary", canary.as_deref()), ("over", over.as_deref())];
            publish(&client, &files, &how, output).await
        }
        DefCommand::Promote(args) => end_canary(&client, &args, "promote", output).await,
        DefCommand::Withdraw(args) => end_canary(&client, &args, "withdraw", output).await,
        DefCommand::List => list(&client, output).await,
        DefCommand::Show(args) => versions::show(&client, &args, output).await,
        DefCommand::New(args) => author::new(&args, output),
        DefCommand::Fmt(args) => author::fmt(&args, output),
        DefCommand::Graph(args) => versions::graph(&client, &args).await,
        DefCommand::Diff(args) => versions::compare(&client, &args, output).await,
        DefCommand::Schema => Ok(author::schema()),
    }
}

/// Publishes files, all that are right, with these parameters of the API; the first that is not makes the command fail
/// at its end.
///
/// # Errors
/// With the mistakes of every file that has some.
pub async fn publish(
    client: &Client,
    files: &[PathBuf],
    how: &[(&str, Option<&str>)],
    output: Output,
) -> Result<Code, Failure> {
    let mut failed: Option<Failure> = None;
    let query: Vec<(&str, &str)> = how.iter().filter_map(|(name, it)| Some((*name, (*it)?))).collect();
    let path = with_query("/definitions", &query)?;
    let mut sources = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
        sources.push((file, source));
    }
    for (file, source) in children_first(sources) {
        let sent: Result<PublishedView, Failure> =
            client.send(Method::POST, &path, &[], Sent::Yaml(&source)).await;
        match sent {
            Ok(view) if output.json => output.print(&view),
            Ok(PublishedView { name, version, fresh, canary_percent, verdict, troubles, waiver }) => {
                let version: String = version.chars().take(12).collect();
                let word = match (canary_percent, fresh) {
                    (Some(percent), _) => format!("published for {percent}% of the starts"),
                    (None, true) => "published".to_owned(),
                    (None, false) => "active again, nothing new".to_owned(),
                };
                let waived = waiver.map(|it| format!(", waived: {it}")).unwrap_or_default();
                say(&format!("{name} {version} {word}; {}{waived}", judged(&verdict, troubles)));
            }
            Err(failure) if failure.problem.is_none() => return Err(failure),
            Err(mut failure) => {
                failure.message = format!("{}: {}", file.display(), failure.message);
                if let Some(before) = failed.take() {
                    failure.message = format!("{}\n{}", before.message, failure.message);
                }
                failed = Some(failure);
            }
        }
    }
    failed.map_or(Ok(Code::Ok), Err)
}

/// A verdict with how much of the world was looked at for it.
pub(super) fn judged(verdict: &str, troubles: Option<u8>) -> String {
    troubles
        .map_or_else(|| verdict.to_owned(), |most| format!("{verdict} ({})", combined(Depth::Troubles(most))))
}

/// The same, with each definition behind those that its steps have as child sagas. What cannot be read stays in its
/// place, and is refused there.
fn children_first(mut left: Vec<(&PathBuf, String)>) -> Vec<(&PathBuf, String)> {
    let loaded: HashMap<&PathBuf, Definition> =
        left.iter().filter_map(|(file, source)| Some((*file, load(source).ok()?))).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |file: &PathBuf| {
            loaded.get(file).is_some_and(|it| {
                let others = left.iter().filter(|(other, _)| *other != file);
                let mut names = others.filter_map(|(other, _)| Some(loaded.get(other)?.name.as_str()));
                names.any(|name| children_of(it).any(|(_, child)| child == name))
            })
        };
        // A circle is refused by whoever publishes.
        let next = left.iter().position(|(file, _)| !waits(file)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

/// A path with a query, spelled as an address wants it.
fn with_query(path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
    let url = reqwest::Url::parse_with_params(&format!("http://localhost{path}"), query)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(format!("{}?{}", url.path(), url.query().unwrap_or_default()))
}

async fn end_canary(client: &Client, args: &CanaryArgs, verb: &str, output: Output) -> Result<Code, Failure> {
    let path = format!("/definitions/{}/{verb}", versions::plain_name(&args.name)?);
    let request = CanaryRequest { version: args.version.clone(), why: args.why.clone() };
    let body = serde_json::to_vec(&request).unwrap_or_default();
    let now: DefinitionSummary = client.send(Method::POST, &path, &[], Sent::Json(&body)).await?;
    if output.json {
        output.print(&now);
    } else {
        let version: String = now.version.chars().take(12).collect();
        say(&format!("{}: {version} takes all starts", now.name));
    }
    Ok(Code::Ok)
}

async fn list(client: &Client, output: Output) -> Result<Code, Failure> {
    let all: DefinitionList = client.get("/definitions").await?;
    if output.json {
        output.print(&all);
    } else if all.definitions.is_empty() {
        say("no definitions; `amends def publish FILE` adds one");
    } else {
        let canaries: Vec<String> = all
            .definitions
            .iter()
            .filter_map(|it| Some(format!("{}: {}", it.name, versions::canary_line(it.canary.as_ref()?))))
            .collect();
        let rows = all.definitions.into_iter().map(|it| {
            let version: String = it.version.chars().take(12).collect();
            vec![it.name, version, it.trigger.unwrap_or_default(), it.description.unwrap_or_default()]
        });
        say(&table(&["definition", "version", "trigger", "description"], rows.collect()));
        canaries.iter().for_each(|line| say(line));
    }
    Ok(Code::Ok)
}
