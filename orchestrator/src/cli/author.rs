//! `amends def new`, `fmt` and `schema`: files of definitions, without a server.
//!
//! Must not overwrite what an author has written, except for `fmt`, which keeps its meaning.

use std::path::{Path, PathBuf};

use clap::Args;
use saga_core::definition::{format, load};

use super::check::mistakes;
use super::exit::{Code, Failure};
use super::{Output, say};

const SAGA: &str = include_str!("templates/saga.yaml");
const SCENARIOS: &str = include_str!("templates/scenarios.yaml");
/// The JSON Schema of the language, for editors.
const SCHEMA: &str = include_str!("../../../docs/saga.schema.json");

/// How `amends def new` is called.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The definition's name
    name: String,
    /// Where definitions are
    #[arg(long, default_value = "saga-defs", value_name = "FOLDER")]
    defs: PathBuf,
    /// Where scenarios are
    #[arg(long, default_value = "tests/sagas", value_name = "FOLDER")]
    scenarios: PathBuf,
}

/// How `amends def fmt` is called.
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// YAML files, a definition each
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Writes nothing; exit code 1 when a file is spelled otherwise
    #[arg(long)]
    check: bool,
}

/// Writes a definition that is proved, and its scenarios, to begin with.
///
/// # Errors
/// When the name is none, or one of the files is there.
pub fn new(args: &NewArgs, output: Output) -> Result<Code, Failure> {
    let fill = |text: &str| text.replace("NAME", &args.name);
    let (saga, scenarios) = (fill(SAGA), fill(SCENARIOS));
    if let Err(told) = load(&saga) {
        let told = told.first().map(ToString::to_string).unwrap_or_default();
        return Err(Failure::usage(format!("`{}` is no name for a definition: {told}", args.name)));
    }
    let file = format!("{}.yaml", args.name);
    let files = [(args.defs.join(&file), saga), (args.scenarios.join(&file), scenarios)];
    for (path, _) in &files {
        if path.exists() {
            return Err(Failure::usage(format!("{} is there already", path.display())));
        }
    }
    for (path, text) in &files {
        write_new(path, text)?;
    }
    let [definition, scenarios] = files.map(|(path, _)| path.display().to_string());
    if output.json {
        output.print(&serde_json::json!({ "definition": definition, "scenarios": scenarios }));
    } else {
        say(&format!("{definition}\n{scenarios}"));
        say(&format!("Next: amends check {definition} && amends test {scenarios}"));
    }
    Ok(Code::Ok)
}

/// Writes a file that is not there yet, and the folders that it lies in.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let told = |error: std::io::Error| {
        Failure::new(Code::Failed, format!("cannot write {}: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(told)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(told)
}

/// Spells files as all are spelled.
///
/// # Errors
/// When a file cannot be read or written. What has mistakes is shown, and spelled if it is YAML.
pub fn fmt(args: &FmtArgs, output: Output) -> Result<Code, Failure> {
    let mut code = Code::Ok;
    for path in &args.files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        let Some(spelled) = format::format(&text) else {
            let told = load(&text).map(|it| it.name).err().unwrap_or_default();
            return Err(Failure::new(Code::Failed, mistakes(path, &text, &told)));
        };
        let changed = spelled != text;
        if changed && args.check {
            code = Code::Failed;
        } else if changed {
            std::fs::write(path, &spelled).map_err(|error| {
                Failure::new(Code::Failed, format!("cannot write {}: {error}", path.display()))
            })?;
        }
        let file = path.display().to_string();
        if output.json {
            output.print(&serde_json::json!({ "file": file, "changed": changed }));
        } else if changed {
            say(&file);
        }
    }
    Ok(code)
}

/// Prints the JSON Schema of the language.
pub fn schema() -> Code {
    say(SCHEMA.trim_end());
    Code::Ok
}
