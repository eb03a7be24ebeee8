//! `amends def show`, `graph` and `diff`: versions of definitions, from files or from a running engine.
//!
//! Must not decide what differs: [`saga_core::definition::diff`] does, and [`saga_core::draw`] draws it.

use std::path::Path;

use clap::{Args, ValueEnum};
use saga_core::Definition;
use saga_core::definition::diff::{Difference, diff};
use saga_core::definition::{load, load_published};
use saga_core::draw::{Picture, difference, mermaid, picture, svg};
use serde_json::{Value, json};

use super::check::mistakes;
use super::client::Client;
use super::exit::{Code, Failure};
use super::style::Tone;
use super::{Output, say};
use crate::api::view::{CanaryView, DefinitionView, OutcomesView, VersionView};

/// How `amends def show` is called.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A definition's name, or NAME@VERSION
    name: String,
    /// Prints the version's text and nothing else
    #[arg(long)]
    source: bool,
}

/// How `amends def graph` is called.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// A file, or NAME or NAME@VERSION of a running engine
    definition: String,
    /// How to draw it
    #[arg(long, value_enum, default_value_t = Drawn::Mermaid)]
    format: Drawn,
}

/// How `amends def diff` is called.
#[derive(Debug, Args)]
#[command(
    after_help = "Without NEW, OLD is a file, and is compared with the version that new sagas take now."
)]
pub struct DiffArgs {
    /// A file, or NAME or NAME@VERSION of a running engine
    old: String,
    /// The same
    new: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Shown::Text)]
    format: Shown,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Drawn {
    /// A Mermaid flowchart
    Mermaid,
    /// A picture
    Svg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shown {
    /// Key by key
    Text,
    /// Both versions as one Mermaid flowchart
    Mermaid,
    /// Both versions as one picture
    Svg,
}

/// A definition's text, and which version of an engine it is, if it is one.
struct Found {
    called: String,
    text: String,
    version: Option<VersionView>,
}

impl Found {
    fn load(&self) -> Result<Definition, Failure> {
        // What was published is read as it was then, also when this release finds fault with it.
        let load = if self.version.is_some() { load_published } else { load };
        load(&self.text)
            .map_err(|told| Failure::new(Code::Failed, mistakes(Path::new(&self.called), &self.text, &told)))
    }
}

fn is_file(given: &str) -> bool {
    given.ends_with(".yaml") || given.ends_with(".yml") || given.contains('/') || Path::new(given).is_file()
}

async fn find(client: &Client, given: &str) -> Result<Found, Failure> {
    if is_file(given) {
        let text = std::fs::read_to_string(given)
            .map_err(|error| Failure::usage(format!("cannot read {given}: {error}")))?;
        return Ok(Found { called: given.to_owned(), text, version: None });
    }
    let (name, prefix) = given.split_once('@').map_or((given, None), |(name, it)| (name, Some(it)));
    let view = ask(client, name).await?;
    let mut fitting = view.versions.into_iter().filter(|it| match prefix {
        Some(prefix) => it.version.starts_with(prefix),
        None => it.active,
    });
    match (fitting.next(), fitting.next()) {
        (Some(it), None) => Ok(Found {
            called: format!("{name}@{}", short(&it.version)),
            text: it.source.clone(),
            version: Some(it),
        }),
        (None, _) => Err(Failure::new(
            Code::NotFound,
            format!("`{name}` has no such version; `amends def show {name}` lists them"),
        )),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("several versions of `{name}` begin like this; write more of it")))
        }
    }
}

async fn ask(client: &Client, name: &str) -> Result<DefinitionView, Failure> {
    client.get(&format!("/definitions/{}", plain_name(name)?)).await
}

/// A definition's name, as it stands in a path.
///
/// # Errors
/// When it is none.
pub fn plain_name(name: &str) -> Result<&str, Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Failure::usage(format!("`{name}` is neither a file nor a definition's name")));
    }
    Ok(name)
}

/// A canary beside the current version, side by side: how many of their sagas have failed.
pub fn canary_line(canary: &CanaryView) -> String {
    let side = |it: &OutcomesView| {
        let failed = it.parked + it.compensated + it.abandoned;
        let rate = it.failure_rate.map_or_else(|| "-".to_owned(), |it| format!("{:.1}%", it * 100.0));
        format!("{failed} of {} failed ({rate})", failed + it.completed)
    };
    let (percent, version) = (canary.percent, short(&canary.version));
    let (its, current) = (side(&canary.outcomes), side(&canary.current));
    format!("canary {version} takes {percent}%: {its}; current: {current}")
}

fn short(version: &str) -> String {
    version.chars().take(12).collect()
}

/// Shows a definition with its versions, or the text of one of them.
///
/// # Errors
/// When there is no such definition or version.
pub async fn show(client: &Client, args: &ShowArgs, output: Output) -> Result<Code, Failure> {
    if args.source || args.name.contains('@') {
        let found = find(client, &args.name).await?;
        if output.json {
            output.print(&found.version);
        } else {
            say(found.text.trim_end());
        }
        return Ok(Code::Ok);
    }
    let view = ask(client, &args.name).await?;
    if output.json {
        output.print(&view);
        return Ok(Code::Ok);
    }
    let style = output.style;
    let about = &view.summary;
    let description = about.description.clone().unwrap_or_default();
    say(format!("{}  {description}", style.paint(Tone::Strong, &about.name)).trim_end());
    for (word, value) in [("trigger", &about.trigger), ("owner", &about.owner), ("runbook", &about.runbook)] {
        if let Some(value) = value {
            say(&format!("  {word:<8} {value}"));
        }
    }
    say(&format!("  {:<8} {}", "steps", about.steps.join(", ")));
    if let Some(canary) = &about.canary {
        say(&format!("  {}", canary_line(canary)));
    }
    for it in &view.versions {
        let mark = match (it.active, it.canary_percent) {
            (true, _) => style.paint(Tone::Good, "●"),
            (false, Some(_)) => style.paint(Tone::Retrying, "◐"),
            (false, None) => " ".to_owned(),
        };
        let verdict = it.verdict.as_deref().unwrap_or("not checked");
        let waiver = it.waiver.as_ref().map(|why| format!(", waived: {why}")).unwrap_or_default();
        let at = it.published_at.format("%Y-%m-%d %H:%M");
        say(&format!("{mark} {}  {at} UTC  {}  {verdict}{waiver}", short(&it.version), open(it)));
    }
    Ok(Code::Ok)
}

fn open(version: &VersionView) -> String {
    match version.unfinished {
        0 => "no open sagas".to_owned(),
        1 => "1 open saga".to_owned(),
        many => format!("{many} open sagas"),
    }
}

/// Draws a definition.
///
/// # Errors
/// When there is none, or it has mistakes.
pub async fn graph(client: &Client, args: &GraphArgs) -> Result<Code, Failure> {
    let definition = find(client, &args.definition).await?.load()?;
    say(draw(&picture(&definition), &definition.name, args.format).trim_end());
    Ok(Code::Ok)
}

fn draw(picture: &Picture, title: &str, format: Drawn) -> String {
    match format {
        Drawn::Mermaid => mermaid(picture),
        Drawn::Svg => svg(picture, title),
    }
}

/// Shows what two versions have differently, and how many sagas still run on each.
///
/// # Errors
/// When one of them is not there, or has mistakes.
pub async fn compare(client: &Client, args: &DiffArgs, output: Output) -> Result<Code, Failure> {
    let (old, new) = match &args.new {
        Some(new) => (find(client, &args.old).await?, find(client, new).await?),
        None if is_file(&args.old) => {
            let new = find(client, &args.old).await?;
            let name = new.load()?.name;
            (find(client, &name).await?, new)
        }
        None => return Err(Failure::usage("name two versions, or one file")),
    };
    let drawn = match args.format {
        Shown::Text => None,
        Shown::Mermaid => Some(Drawn::Mermaid),
        Shown::Svg => Some(Drawn::Svg),
    };
    if let Some(format) = drawn {
        let union = difference(&old.load()?, &new.load()?);
        say(draw(&union, &format!("{} → {}", old.called, new.called), format).trim_end());
        return Ok(Code::Ok);
    }
    let found = diff(&old.text, &new.text)
        .map_err(|told| Failure::new(Code::Failed, mistakes(Path::new(&new.called), &new.text, &told)))?;
    if output.json {
        let unfinished = |it: &Found| it.version.as_ref().map(|it| it.unfinished);
        let all: Vec<Value> =
            found.iter().map(|it| json!({ "path": it.path, "old": it.old, "new": it.new })).collect();
        output.print(&json!({
            "old": old.called, "new": new.called, "old_unfinished": unfinished(&old),
            "new_unfinished": unfinished(&new), "differences": all,
        }));
        return Ok(Code::Ok);
    }
    let label = |it: &Found| match &it.version {
        Some(version) => format!("{} ({})", it.called, open(version)),
        None => it.called.clone(),
    };
    say(&format!("{} → {}", label(&old), label(&new)));
    if found.is_empty() {
        say("  no difference: it is the same version");
    }
    found.iter().for_each(|it| say(&line(it, output)));
    Ok(Code::Ok)
}

fn line(it: &Difference, output: Output) -> String {
    let path = it.path.join(".");
    let reordered = it.path.len() == 1 && it.old.as_ref().is_some_and(Value::is_array);
    match (&it.old, &it.new) {
        (None, Some(new)) => {
            format!("  {}", output.style.paint(Tone::Good, &format!("+ {path}: {}", brief(new))))
        }
        (Some(old), None) => {
            format!("  {}", output.style.paint(Tone::Human, &format!("- {path}: {}", brief(old))))
        }
        (Some(old), Some(new)) => {
            let what = if reordered { " (their order)" } else { "" };
            let text = format!("~ {path}{what}: {} → {}", brief(old), brief(new));
            format!("  {}", output.style.paint(Tone::Retrying, &text))
        }
        (None, None) => String::new(),
    }
}

/// A value on a line, as YAML's flow is read.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{key}: {}", brief(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
