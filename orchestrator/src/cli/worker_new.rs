//! `amends worker new`: a step worker to begin with, in Rust, Python or TypeScript, with its tests.
//!
//! Owns the skeletons. What is the same in every worker (protocol, barrier, process) is taken from the examples as it is,
//! so that it is tested there; only the business is a template. Must not overwrite anything.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::author::write_new;
use super::exit::{Code, Failure};
use super::{Output, say};

/// The longest name: a test's database is called by it, and Postgres ends names at 63 bytes.
const NAME_BYTES_MAX: usize = 30;

/// Writes a step worker that runs, with its tests, to begin with
#[derive(Debug, Args)]
pub struct NewWorkerArgs {
    /// What definitions will call it: lower-case letters, digits, `-` and `_`
    name: String,
    /// What it is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// Where it goes; NAME-worker when absent
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// A clone of Amends, which a worker in Rust takes the SDK from until its crates are published; when absent, the
    /// clone that this folder is in
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// By the SDK
    Rust,
    /// By confluent-kafka and psycopg
    Python,
    /// By kafkajs and pg
    Typescript,
}

/// A file of a skeleton: where it goes, and its text, both with placeholders.
type Template = (&'static str, &'static str);

macro_rules! own {
    ($file:literal) => {
        include_str!(concat!("templates/worker/", $file))
    };
}
macro_rules! example {
    ($file:literal) => {
        include_str!(concat!("../../../examples/workers/", $file))
    };
}

const RUST: &[Template] = &[
    ("README.md", own!("rust/README.md")),
    (".gitignore", own!("rust/gitignore")),
    ("Cargo.toml", own!("rust/Cargo.toml")),
    ("migrations/0001_booking.sql", own!("rust/0001_booking.sql")),
    ("src/lib.rs", own!("rust/lib.rs")),
    ("src/main.rs", own!("rust/main.rs")),
    ("src/booking.rs", own!("rust/booking.rs")),
    ("tests/worker.rs", own!("rust/tests.rs")),
];
const PYTHON: &[Template] = &[
    ("README.md", own!("python/README.md")),
    (".gitignore", own!("python/gitignore")),
    ("requirements.txt", example!("python/requirements.txt")),
    ("requirements-test.txt", example!("python/requirements-test.txt")),
    ("__PACKAGE__/__init__.py", own!("python/init.py")),
    ("__PACKAGE__/__main__.py", own!("python/main.py")),
    ("__PACKAGE__/actions.py", own!("python/actions.py")),
    ("__PACKAGE__/schema.sql", own!("schema.sql")),
    ("__PACKAGE__/inbox.sql", example!("python/points/inbox.sql")),
    ("__PACKAGE__/barrier.py", example!("python/points/barrier.py")),
    ("__PACKAGE__/protocol.py", example!("python/points/protocol.py")),
    ("__PACKAGE__/worker.py", example!("python/points/worker.py")),
    ("tests/conftest.py", own!("python/conftest.py")),
    ("tests/test_worker.py", own!("python/tests.py")),
];
const TYPESCRIPT: &[Template] = &[
    ("README.md", own!("typescript/README.md")),
    (".gitignore", example!("typescript/.gitignore")),
    ("package.json", own!("typescript/package.json")),
    ("package-lock.json", example!("typescript/package-lock.json")),
    ("tsconfig.json", example!("typescript/tsconfig.json")),
    ("schema.sql", own!("schema.sql")),
    ("inbox.sql", example!("typescript/inbox.sql")),
    ("src/name.ts", own!("typescript/name.ts")),
    ("src/main.ts", own!("typescript/main.ts")),
    ("src/actions.ts", own!("typescript/actions.ts")),
    ("src/barrier.ts", example!("typescript/src/barrier.ts")),
    ("src/protocol.ts", example!("typescript/src/protocol.ts")),
    ("src/worker.ts", example!("typescript/src/worker.ts")),
    ("tests/bench.ts", own!("typescript/bench.ts")),
    ("tests/worker.test.ts", own!("typescript/tests.ts")),
];

/// Writes the skeleton.
///
/// # Errors
/// When the name is none, the folder has something in it, or a worker in Rust finds no SDK.
pub fn run(args: &NewWorkerArgs, output: Output) -> Result<Code, Failure> {
    let name = Named::new(&args.name)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}-worker", name.name)));
    let sdk = match args.lang {
        Language::Rust => sdk(args.sdk.as_deref())?,
        _ => String::new(),
    };
    if std::fs::read_dir(&dir).is_ok_and(|mut it| it.next().is_some()) || dir.is_file() {
        return Err(Failure::usage(format!(
            "{} is there already; name another folder by --dir",
            dir.display()
        )));
    }
    let (templates, package, next) = match args.lang {
        Language::Rust => (RUST, name.hyphens(), "cargo test"),
        Language::Python => (
            PYTHON,
            name.underscores(),
            "python3 -m venv .venv && .venv/bin/pip install -r requirements-test.txt && .venv/bin/python -m pytest tests",
        ),
        Language::Typescript => (TYPESCRIPT, name.hyphens(), "npm install && npm test"),
    };
    let fill = |text: &str| {
        text.replace("__PACKAGE_IDENT__", &name.underscores())
            .replace("__PACKAGE__", &package)
            .replace("amends-coupon-worker", &package)
            .replace("__NAME__", &name.name)
            .replace("__IDENT__", &name.ident)
            .replace("__ENV__", &name.ident.to_ascii_uppercase())
            .replace("__SDK__", &sdk)
    };
    for (path, text) in templates {
        write_new(&dir.join(fill(path)), &fill(text))?;
    }
    let shown = dir.display().to_string();
    if output.json {
        let files: Vec<String> = templates.iter().map(|(path, _)| fill(path)).collect();
        output.print(&serde_json::json!({ "folder": shown, "files": files }));
        return Ok(Code::Ok);
    }
    say(&shown);
    templates.iter().for_each(|(path, _)| say(&format!("  {}", fill(path))));
    let kafka = if args.lang == Language::Rust { "" } else { " AMENDS_TEST_KAFKA=HOST:PORT" };
    say(&format!("Next: cd {shown}, read README.md, and test it:"));
    say(&format!("  export AMENDS_TEST_DATABASE_URL=postgres://…/postgres{kafka}"));
    say(&format!("  {next}"));
    Ok(Code::Ok)
}

/// A worker's name, and what is called by it.
struct Named {
    name: String,
    ident: String,
}

impl Named {
    fn new(name: &str) -> Result<Self, Failure> {
        let good = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
            && name.len() <= NAME_BYTES_MAX;
        if !good {
            return Err(Failure::usage(format!(
                "`{name}` is no name for a worker: use lower-case letters, digits, `-` and `_`, starting with a letter, \
                 at most {NAME_BYTES_MAX}"
            )));
        }
        Ok(Self { name: name.to_owned(), ident: name.replace('-', "_") })
    }

    fn hyphens(&self) -> String {
        format!("{}-worker", self.name)
    }

    fn underscores(&self) -> String {
        format!("{}_worker", self.ident)
    }
}

/// The clone of Amends that has the SDK.
fn sdk(given: Option<&Path>) -> Result<String, Failure> {
    let has = |folder: &Path| folder.join("crates/saga-worker/Cargo.toml").is_file();
    let found = match given {
        Some(folder) if has(folder) => folder.canonicalize().ok(),
        Some(folder) => {
            return Err(Failure::usage(format!(
                "{} is no clone of Amends: it has no crates/saga-worker",
                folder.display()
            )));
        }
        None => std::env::current_dir()
            .ok()
            .and_then(|here| here.ancestors().find(|it| has(it)).map(Path::to_path_buf)),
    };
    let found = found.ok_or_else(|| {
        Failure::usage(
            "the SDK's crates are not published yet: say by --sdk where a clone of Amends is. A worker in Python or \
             TypeScript needs none",
        )
    })?;
    // A path in a Cargo.toml is a TOML string.
    let shown = found.display().to_string();
    if shown.contains(['"', '\\']) || shown.chars().any(char::is_control) {
        return Err(Failure::usage(format!("{shown} cannot be written into a Cargo.toml")));
    }
    Ok(shown)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::style::Style;

    const QUIET: Output = Output { json: true, style: Style::PLAIN };

    fn args(name: &str, lang: Language, dir: &Path) -> NewWorkerArgs {
        NewWorkerArgs { name: name.to_owned(), lang, dir: Some(dir.to_owned()), sdk: None }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn a_skeleton_is_whole_and_says_nothing_of_what_it_was_made_from() {
        let folder = tempfile::tempdir().unwrap();
        for (lang, templates) in
            [(Language::Rust, RUST), (Language::Python, PYTHON), (Language::Typescript, TYPESCRIPT)]
        {
            let dir = folder.path().join(format!("{lang:?}"));
            run(&args("gift-wrap", lang, &dir), QUIET).unwrap();
            let written = files(&dir);
            assert_eq!(written.len(), templates.len());
            for path in written {
                let text = std::fs::read_to_string(&path).unwrap();
                let (shown, all) = (path.display(), format!("{}\n{text}", path.display()));
                let open = all
                    .match_indices("__")
                    .find(|(at, _)| all[at + 2..].starts_with(|c: char| c.is_ascii_uppercase()));
                assert_eq!(open, None, "{shown} has a placeholder left");
                for word in ["coupon", "points", "spend", "redeem"] {
                    assert!(!text.to_lowercase().contains(word), "{shown} has `{word}`");
                }
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_a_bad_name_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("here");
        for name in ["", "Gift", "7up", "gift wrap", "../gift", "a234567890123456789012345678901"] {
            let refused = run(&args(name, Language::Python, &dir), QUIET).unwrap_err();
            assert!(refused.message.contains("is no name for a worker"), "{}", refused.message);
            assert!(!dir.exists());
        }
        run(&args("gift", Language::Python, &dir), QUIET).unwrap();
        let refused = run(&args("gift", Language::Rust, &dir), QUIET).unwrap_err();
        assert!(refused.message.contains("is there already"), "{}", refused.message);
        let elsewhere = NewWorkerArgs {
            sdk: Some(folder.path().to_owned()),
            ..args("gift", Language::Rust, &folder.path().join("there"))
        };
        assert!(run(&elsewhere, QUIET).unwrap_err().message.contains("is no clone of Amends"));
    }
}
