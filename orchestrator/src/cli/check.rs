//! `amends check`: proves definitions right before they run, or tells the shortest story in which they go wrong.
//!
//! Needs no server. It must not decide anything: [`saga_core::check`] does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use saga_core::Definition;
use saga_core::check::{Depth, Limits, Property, Refutation, Report, Verdict, check};
use saga_core::definition::{Diagnostic, Work, load, load_to_explore, snippet};
use serde_json::{Value, json};

use super::exit::{Code, Failure};
use super::style::Tone;
use super::watch::is_yaml;
use super::{Output, say};

/// Checks definitions: explores every combination of outcomes, and proves or refutes that they make amends
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all proved, 1 a mistake or a refutation, 2 wrong usage, 3 neither proved nor refuted \
    within --states."
)]
pub struct CheckArgs {
    /// YAML files, a definition each; child sagas are looked up among them, and in their folders
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The most states to visit of each definition before giving up
    #[arg(long, default_value_t = Limits::default().states_max, value_name = "NUMBER")]
    states: usize,
    /// Takes only every combination for a proof: where there are more than --states, it is unproved (exit 3), and nothing
    /// smaller is tried
    #[arg(long)]
    every_combination: bool,
    /// Says which properties were proved
    #[arg(long, short)]
    verbose: bool,
}

impl CheckArgs {
    fn limits(&self) -> Limits {
        let usual = Limits { states_max: self.states, ..Limits::default() };
        if self.every_combination { Limits { whole_max: self.states, ..usual } } else { usual }
    }
}

/// One file, read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) loaded: Result<Definition, Vec<Diagnostic>>,
}

/// Reads definitions; their mistakes are kept.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            let loaded = load(&text);
            Ok(Source { path: path.clone(), text, loaded })
        })
        .collect()
}

/// Every mistake, shown in its source.
pub(super) fn mistakes(path: &Path, text: &str, told: &[Diagnostic]) -> String {
    let file = path.display().to_string();
    told.iter().map(|it| snippet::show(&file, text, it)).collect::<Vec<_>>().join("\n\n")
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read.
pub fn run(args: &CheckArgs, output: Output) -> Result<Code, Failure> {
    let sources = read(&args.files)?;
    let beside = beside(&args.files);
    let given = sources.iter().filter_map(|it| it.loaded.as_ref().ok());
    let children: Vec<&Definition> = given.chain(&beside).collect();
    let mut code = Code::Ok;
    for source in &sources {
        let outcome = one(source, &children, args.limits());
        if output.json {
            output.print(&outcome.json(source));
        } else {
            say(&outcome.text(source, output, args.verbose));
        }
        code = match (code, outcome.code()) {
            (Code::Failed, _) | (_, Code::Failed) => Code::Failed,
            (Code::Ok, it) => it,
            (it, _) => it,
        };
    }
    Ok(code)
}

/// The definitions in the files' folders that load.
fn beside(files: &[PathBuf]) -> Vec<Definition> {
    let folders: BTreeSet<PathBuf> =
        files.iter().filter_map(|it| Some(it.canonicalize().ok()?.parent()?.to_owned())).collect();
    let entries = folders.iter().filter_map(|it| std::fs::read_dir(it).ok()).flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|it| it.path()).filter(|it| is_yaml(it)).collect();
    // Of two with one name the same is meant each time.
    paths.sort();
    let texts = paths.iter().filter_map(|it| std::fs::read_to_string(it).ok());
    texts.filter_map(|text| load(&text).ok()).collect()
}

/// What is wrong with the company of its children: one is not known, or has the definition for its own child.
fn company(definition: &Definition, children: &[&Definition]) -> Option<Company> {
    let mut pending: Vec<&str> = children_of(definition).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = pending.pop() {
        if name == definition.name {
            return Some(Company::Circle);
        }
        let Some(child) = children.iter().find(|it| it.name == name) else {
            return Some(Company::Unknown(name.to_owned()));
        };
        if seen.insert(name) {
            pending.extend(children_of(child));
        }
    }
    None
}

fn children_of(definition: &Definition) -> impl Iterator<Item = &str> {
    definition.steps.iter().filter_map(|step| match &step.work {
        Work::Child { definition } => Some(definition.as_str()),
        _ => None,
    })
}

/// What keeps a definition from being proved, whatever it does itself.
enum Company {
    /// It would be a child saga of itself, without end.
    Circle,
    /// Nobody knows this child.
    Unknown(String),
}

impl Company {
    fn code(&self) -> Code {
        match self {
            Self::Circle => Code::Failed,
            Self::Unknown(_) => Code::UNPROVED,
        }
    }

    fn says(&self) -> String {
        match self {
            Self::Circle => "it would be a child saga of itself, without end".to_owned(),
            Self::Unknown(name) => {
                format!(
                    "nothing is known of its child saga `{name}`: give its file too, or put it beside this one"
                )
            }
        }
    }
}

struct Outcome<'s> {
    told: &'s [Diagnostic],
    company: Option<Company>,
    /// Absent when the mistakes leave nothing to explore.
    report: Option<Report>,
    elapsed_ms: u128,
}

fn one<'s>(source: &'s Source, children: &[&Definition], limits: Limits) -> Outcome<'s> {
    let began = Instant::now();
    let company = source.loaded.as_ref().ok().and_then(|it| company(it, children));
    let (told, report) = match &source.loaded {
        Ok(definition) => (&[][..], Some(check(definition, children, limits))),
        // The story is a help to understand the mistake; where there is none, the mistake stands all the same.
        Err(told) => {
            let story = load_to_explore(&source.text).map(|it| check(&it, children, limits));
            (&told[..], story.filter(|it| matches!(it.verdict, Verdict::Refuted(_))))
        }
    };
    Outcome { told, company, report, elapsed_ms: began.elapsed().as_millis() }
}

impl Outcome<'_> {
    fn code(&self) -> Code {
        match self.report.as_ref().map(|it| &it.verdict) {
            _ if !self.told.is_empty() => Code::Failed,
            Some(Verdict::Proved) => self.company.as_ref().map_or(Code::Ok, Company::code),
            Some(Verdict::Unproved) => Code::UNPROVED,
            Some(Verdict::Refuted(_)) | None => Code::Failed,
        }
    }

    fn word(&self) -> &'static str {
        match self.report.as_ref().map(|it| &it.verdict) {
            _ if !self.told.is_empty() => "mistakes",
            Some(Verdict::Proved) => match self.company {
                None => "proved",
                Some(Company::Circle) => "refuted",
                Some(Company::Unknown(_)) => "unproved",
            },
            Some(Verdict::Unproved) => "unproved",
            Some(Verdict::Refuted(_)) | None => "refuted",
        }
    }

    fn json(&self, source: &Source) -> Value {
        let definition = source.loaded.as_ref().ok();
        let refutation = self.report.as_ref().and_then(|it| match &it.verdict {
            Verdict::Refuted(it) => Some(refutation_json(it)),
            _ => None,
        });
        let mistakes: Vec<Value> = self
            .told
            .iter()
            .map(|it| {
                json!({ "code": it.code, "message": it.message, "line": it.line, "column": it.column, "remedy": it.remedy })
            })
            .collect();
        json!({
            "file": source.path.display().to_string(),
            "definition": definition.map(|it| &it.name),
            "version": definition.map(|it| &it.version.0),
            "verdict": self.word(),
            "states": self.report.as_ref().map(|it| it.states),
            "transitions": self.report.as_ref().map(|it| it.transitions),
            "troubles_max": self.report.as_ref().and_then(|it| it.depth.troubles()),
            "elapsed_ms": u64::try_from(self.elapsed_ms).unwrap_or(u64::MAX),
            "refutation": refutation,
            "children": self.company.as_ref().map(Company::says),
            "mistakes": mistakes,
        })
    }

    fn text(&self, source: &Source, output: Output, verbose: bool) -> String {
        let style = output.style;
        let file = source.path.display();
        let (tone, shape) = match self.code() {
            Code::Ok => (Tone::Good, "✓"),
            Code::Failed => (Tone::Human, "✗"),
            _ => (Tone::Retrying, "?"),
        };
        let mut lines = vec![format!("{} {file}", style.paint(tone, &format!("{shape} {}", self.word())))];
        if let Some(report) = &self.report
            && self.told.is_empty()
        {
            lines[0].push_str(&format!(
                "  {} states, {} transitions, {} ms; {}",
                report.states,
                report.transitions,
                self.elapsed_ms,
                combined(report.depth)
            ));
            if let Some(company) = &self.company {
                lines.push(format!("  {}", company.says()));
            }
            if report.verdict == Verdict::Unproved {
                lines.push("  nothing wrong was found in these; --states allows more".to_owned());
            }
        }
        if !self.told.is_empty() {
            lines.push(mistakes(&source.path, &source.text, self.told));
        }
        match self.report.as_ref().map(|it| &it.verdict) {
            Some(Verdict::Refuted(refutation)) => lines.push(story_text(refutation, output)),
            Some(Verdict::Proved) if verbose && self.company.is_none() => {
                lines.extend(Property::ALL.iter().map(|it| format!("  {:<12} {}", it.word(), it.says())));
            }
            _ => {}
        }
        lines.join("\n")
    }
}

/// What was combined with what, in words.
pub(crate) fn combined(depth: Depth) -> String {
    match depth {
        Depth::Whole => "every combination".to_owned(),
        Depth::Troubles(1) => "one step in trouble at a time".to_owned(),
        Depth::Troubles(max) => format!("up to {max} steps in trouble at once"),
    }
}

pub(crate) fn refutation_json(it: &Refutation) -> Value {
    let story: Vec<Value> =
        it.story.iter().map(|beat| json!({ "happens": beat.happens, "follows": beat.follows })).collect();
    json!({ "property": it.property.word(), "message": it.message, "story": story })
}

/// A counter-example as a timeline.
fn story_text(it: &Refutation, output: Output) -> String {
    let style = output.style;
    let mut lines =
        vec![format!("  {}: {}", style.paint(Tone::Human, it.property.word()), it.property.says())];
    for (nth, beat) in (1..).zip(&it.story) {
        lines.push(format!("  {nth:>3}. {}", beat.happens));
        lines.extend(
            beat.follows.iter().map(|it| format!("       {}", style.paint(Tone::Faint, &format!("→ {it}")))),
        );
    }
    lines.push(format!("  {} {}", style.paint(Tone::Human, "✗"), it.message));
    lines.join("\n")
}
