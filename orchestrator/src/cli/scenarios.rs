//! `amends test` and `amends simulate`: definitions played in memory and in virtual time, or against real workers.
//!
//! In memory it needs no server. It must not decide what a scenario means: [`saga_core::simulate`] does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use saga_core::Definition;
use saga_core::definition::{Work, validator};
use saga_core::simulate::{Coverage, Line, Mark, Run, Scenario, ScenarioFile, Script, play, verify};
use saga_core::state::Status;
use serde_json::{Value, json};

use super::check::{Source, mistakes, read};
use super::exit::{Code, Failure};
use super::live;
use super::style::{Style, Tone, span};
use super::{Output, Server, say};

/// Tests definitions by scenarios: in memory and virtual time, or on the real stack
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 every scenario came out as it says, 1 one did not, 2 wrong usage.")]
pub struct TestArgs {
    /// Files of scenarios; all of tests/sagas when none is named
    files: Vec<PathBuf>,
    /// Where the definitions are
    #[arg(long, default_value = "saga-defs", value_name = "FOLDER")]
    defs: PathBuf,
    /// Only scenarios whose name has this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Runs those that can be on a running engine and its real workers, instead of in memory
    #[arg(long)]
    live: bool,
    /// Prints the timeline of every scenario
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    server: Server,
}

/// Plays one saga of a definition in memory, and prints its timeline
#[derive(Debug, Args)]
#[command(
    after_help = "Answers: succeeded, rejected, retryable, silent, undecidable; several, separated by commas, are \
    those to the first, second, … attempt. `~STEP` is the step's compensation. Anything that a scenario file can say may \
    stand there as JSON: `pay={\"succeeded\": {\"receipt\": \"r1\"}}`, also what a child saga yields. \
    Exit codes: 0 the saga completed, 4 it ended otherwise or is parked."
)]
pub struct SimulateArgs {
    /// The definition, a YAML file
    file: PathBuf,
    /// The saga's input: a file, `-` for standard input, or JSON itself; made up from the schema when absent
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// How a step's worker answers, such as `pay=silent,rejected` or `~pay=retryable,succeeded`
    #[arg(long = "answer", short, value_name = "STEP=ANSWERS")]
    answers: Vec<String>,
    /// A signal and when it comes, such as `paid@1h`; with its payload `paid@1h={"amount": 100}`, else one is made up from
    /// the schema of the step that waits
    #[arg(long = "signal", value_name = "NAME@TIME[=JSON]")]
    signals: Vec<String>,
    /// Plays all the same when the input does not fit the definition
    #[arg(long)]
    any_input: bool,
}

/// A file of scenarios with its definition.
struct Suite {
    path: PathBuf,
    file: ScenarioFile,
    source: Source,
}

/// Runs `amends test`.
///
/// # Errors
/// When a file cannot be read or understood.
pub async fn test(args: &TestArgs, output: Output) -> Result<Code, Failure> {
    let files = if args.files.is_empty() { all_in(Path::new("tests/sagas"))? } else { args.files.clone() };
    let suites: Vec<Suite> = files.iter().map(|path| suite(path, &args.defs)).collect::<Result<_, _>>()?;
    let wanted = |scenario: &&Scenario| args.only.as_ref().is_none_or(|text| scenario.name.contains(text));
    let mut tally = Tally::default();
    for suite in &suites {
        let definition = suite.definition()?;
        let mut coverage = Coverage::of(definition);
        if !output.json {
            say(&format!("{}  {}", output.style.paint(Tone::Strong, &definition.name), suite.path.display()));
        }
        for scenario in suite.file.scenarios.iter().filter(wanted) {
            if args.live {
                let outcome = live::run(&args.server, definition, &suite.file, scenario).await?;
                tally.count(&outcome);
                report(suite, scenario, &outcome, None, args, output);
                continue;
            }
            let (run, wrong) = in_memory(suite, definition, scenario)?;
            if let Some(run) = &run {
                coverage.take_in(definition, run);
            }
            let outcome = Outcome::of(wrong);
            tally.count(&outcome);
            report(suite, scenario, &outcome, run.as_ref(), args, output);
        }
        if !args.live && args.only.is_none() {
            covered(definition, &coverage, output);
        }
    }
    if !output.json {
        say(&tally.text(output.style));
    }
    if tally.passed + tally.failed == 0 {
        return Err(Failure::usage("no scenario was run; --only may name none, or the files hold none"));
    }
    Ok(if tally.failed == 0 { Code::Ok } else { Code::Failed })
}

/// What came of a scenario.
pub(super) enum Outcome {
    Passed,
    Failed(Vec<String>),
    /// It was not run, for this reason.
    Skipped(String),
}

impl Outcome {
    pub(super) fn of(wrong: Vec<String>) -> Self {
        if wrong.is_empty() { Self::Passed } else { Self::Failed(wrong) }
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }

    fn text(&self, style: Style) -> String {
        let mut text = format!("{} passed", self.passed);
        if self.failed > 0 {
            text.push_str(&format!(", {}", style.paint(Tone::Human, &format!("{} failed", self.failed))));
        }
        if self.skipped > 0 {
            text.push_str(&format!(", {} only in memory", self.skipped));
        }
        text
    }
}

impl Suite {
    fn definition(&self) -> Result<&Definition, Failure> {
        self.source
            .loaded
            .as_ref()
            .map_err(|told| Failure::new(Code::Failed, mistakes(&self.source.path, &self.source.text, told)))
    }
}

fn all_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read {}: {error}; name the files of scenarios", folder.display()))
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == "yaml" || it == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn suite(path: &Path, defs: &Path) -> Result<Suite, Failure> {
    let told = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| told(format!("cannot be read: {error}")))?;
    let file = ScenarioFile::parse(&text).map_err(|error| told(error.to_string()))?;
    let source = read(&[defs.join(format!("{}.yaml", file.definition))])?;
    let Some(source) = source.into_iter().next() else {
        return Err(told("it names no definition".to_owned()));
    };
    Ok(Suite { path: path.to_owned(), file, source })
}

fn in_memory(
    suite: &Suite,
    definition: &Definition,
    scenario: &Scenario,
) -> Result<(Option<Run>, Vec<String>), Failure> {
    let script =
        scenario.script().map_err(|error| Failure::usage(format!("{}: {error}", suite.path.display())))?;
    let vain = scenario.in_vain(definition);
    if !vain.is_empty() {
        return Ok((None, vain));
    }
    let input = scenario.input(&suite.file);
    let refused = refused(definition, &input);
    if !refused.is_empty() {
        return Ok((None, refused));
    }
    match play(definition, input, &script) {
        Ok(run) => {
            let wrong = verify(definition, &run, &scenario.expect);
            Ok((Some(run), wrong))
        }
        Err(illegal) => Ok((None, vec![format!("the state machine does not know what to do: {illegal}")])),
    }
}

/// What the door has against an input.
fn refused(definition: &Definition, input: &Value) -> Vec<String> {
    let misfits: Vec<String> = match validator(definition) {
        Ok(door) => door.iter_errors(input).map(|it| format!("input{}: {it}", it.instance_path())).collect(),
        Err(error) => vec![error.to_string()],
    };
    if misfits.is_empty() { definition.unmeant(input) } else { misfits }
}

fn report(
    suite: &Suite,
    scenario: &Scenario,
    outcome: &Outcome,
    run: Option<&Run>,
    args: &TestArgs,
    output: Output,
) {
    let (word, notes): (_, &[String]) = match outcome {
        Outcome::Passed => ("passed", &[]),
        Outcome::Failed(wrong) => ("failed", wrong),
        Outcome::Skipped(why) => ("skipped", std::slice::from_ref(why)),
    };
    if output.json {
        let document = json!({
            "file": suite.path.display().to_string(),
            "definition": suite.file.definition,
            "scenario": scenario.name,
            "outcome": word,
            "notes": notes,
            "took_ms": run.map(|it| it.took_ms),
        });
        output.print(&document);
        return;
    }
    let style = output.style;
    let (tone, shape) = match outcome {
        Outcome::Passed => (Tone::Good, "✓"),
        Outcome::Failed(_) => (Tone::Human, "✗"),
        Outcome::Skipped(_) => (Tone::Faint, "–"),
    };
    let took = run.map(|it| style.paint(Tone::Faint, &format!("  {}", span(it.took_ms)))).unwrap_or_default();
    say(&format!("  {} {}{took}", style.paint(tone, shape), scenario.name));
    notes.iter().for_each(|note| say(&format!("      {note}")));
    if let Some(run) = run.filter(|_| args.verbose || matches!(outcome, Outcome::Failed(_))) {
        timeline(run, style).iter().for_each(|line| say(&format!("    {line}")));
    }
}

fn covered(definition: &Definition, coverage: &Coverage, output: Output) {
    let missing: Vec<&str> = coverage.missing().collect();
    let reached = coverage.total() - missing.len();
    if output.json {
        let all = coverage.total();
        output.print(
            &json!({ "definition": definition.name, "reached": reached, "of": all, "missing": missing }),
        );
        return;
    }
    say(&format!("  reached {reached} of {}", coverage.total()));
    if !missing.is_empty() {
        say(&output.style.paint(Tone::Faint, &format!("  no scenario: {}", missing.join("; "))));
    }
}

/// Runs `amends simulate`.
///
/// # Errors
/// When something of what is given cannot be understood.
pub fn simulate(args: &SimulateArgs, output: Output) -> Result<Code, Failure> {
    let sources = read(std::slice::from_ref(&args.file))?;
    let Some(source) = sources.first() else { return Err(Failure::usage("name a definition")) };
    let definition = source
        .loaded
        .as_ref()
        .map_err(|told| Failure::new(Code::Failed, mistakes(&source.path, &source.text, told)))?;
    let input = match &args.input {
        Some(given) => input_of(definition, given, args.any_input)?,
        None => {
            let made_up = definition.sample_input();
            if !output.json {
                say(&output
                    .style
                    .paint(Tone::Faint, &format!("input (made up; --input gives one): {made_up}")));
            }
            made_up
        }
    };
    let run = play(definition, input, &script_of(args, definition)?)
        .map_err(|illegal| Failure::new(Code::Failed, illegal.to_string()))?;
    if output.json {
        output.print(&run_json(&run));
    } else {
        timeline(&run, output.style).iter().for_each(|line| say(line));
    }
    Ok(if run.state.status == Status::Completed { Code::Ok } else { Code::NotCompleted })
}

fn input_of(definition: &Definition, given: &str, any: bool) -> Result<Value, Failure> {
    let input: Value = serde_json::from_slice(&super::saga::document(given)?)
        .map_err(|error| Failure::usage(format!("the input is not JSON: {error}")))?;
    let refused = refused(definition, &input);
    if refused.is_empty() || any {
        return Ok(input);
    }
    Err(Failure::usage(format!(
        "the input would be refused at the door; --any-input plays all the same\n  {}",
        refused.join("\n  ")
    )))
}

fn script_of(args: &SimulateArgs, definition: &Definition) -> Result<Script, Failure> {
    let mut script = Script::that_makes_up();
    for given in &args.answers {
        let wrong = || Failure::usage(format!("`{given}`: write STEP=ANSWER, or STEP=ANSWER,ANSWER"));
        let (step, answers) = given.split_once('=').ok_or_else(wrong)?;
        let (step, back) = step.strip_prefix('~').map_or((step, false), |step| (step, true));
        let bare = step.split('[').next().unwrap_or(step);
        let Some(found) = definition.find(bare).and_then(|ix| definition.step(ix)) else {
            let known: Vec<&str> = definition.steps.iter().map(|it| it.name.as_str()).collect();
            return Err(Failure::usage(format!("there is no step `{bare}`; steps are {}", known.join(", "))));
        };
        if matches!(found.work, Work::Sleep { .. } | Work::Signal { .. }) {
            return Err(Failure::usage(format!("`{bare}` is a wait, and asks no worker")));
        }
        let answers = if answers.trim_start().starts_with(['{', '[']) {
            serde_json::from_str(answers)
                .map_err(|error| Failure::usage(format!("`{given}`: the answer is not JSON: {error}")))?
        } else {
            answers.split(',').map(|it| Value::from(it.trim())).collect()
        };
        script.answer(step, back, &answers).map_err(|error| Failure::usage(error.to_string()))?;
    }
    for given in &args.signals {
        script.signal(given, definition).map_err(|error| Failure::usage(error.to_string()))?;
    }
    Ok(script)
}

fn run_json(run: &Run) -> Value {
    let timeline: Vec<Value> = run
        .timeline
        .iter()
        .map(|it| json!({ "at_ms": it.at_ms, "step": it.step, "text": it.text }))
        .collect();
    let sent: Vec<Value> = run
        .sent
        .iter()
        .map(|it| json!({ "action": it.action, "round": it.round, "attempt": it.attempt, "input": it.input }))
        .collect();
    let counts: BTreeMap<&str, usize> = [("commands", sent.len()), ("lines", timeline.len())].into();
    json!({
        "status": run.state.status.word(), "took_ms": run.took_ms, "output": run.output.as_deref(), "counts": counts,
        "timeline": timeline, "commands": sent, "anomalies": run.anomalies,
    })
}

/// A run as a timeline.
fn timeline(run: &Run, style: Style) -> Vec<String> {
    let width = run.timeline.iter().filter_map(|it| it.step.as_ref()).map(|it| it.chars().count()).max();
    let width = width.unwrap_or(0).clamp(12, 28);
    run.timeline.iter().map(|line| draw(line, width, style)).collect()
}

fn draw(line: &Line, width: usize, style: Style) -> String {
    let (tone, shape) = match line.mark {
        Mark::Good => (Tone::Good, "✓"),
        Mark::Failed => (Tone::Retrying, "✗"),
        Mark::Again => (Tone::Retrying, "↻"),
        Mark::Back => (Tone::Back, "⤺"),
        Mark::Human => (Tone::Human, "■"),
        Mark::Note => (Tone::Strong, "▸"),
    };
    let at = format!("+{}", span(line.at_ms));
    let text = match &line.step {
        Some(step) => format!("{}  {}", style.paint(tone, &format!("{step:<width$}")), line.text),
        None => style.paint(tone, &line.text),
    };
    format!("{at:>12}  {} {text}", style.paint(tone, shape)).trim_end().to_owned()
}
