//! Every metric is in docs/metrics.md, and what the alerts watch exists.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources(dir: &Path, found: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") && !path.ends_with("node_modules") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The words that begin with `amends_` right behind a mark.
fn names(text: &str, mark: &str) -> BTreeSet<String> {
    let starts = text.match_indices(mark).map(|(at, _)| text[at + mark.len()..].trim_start());
    let word = |rest: &str| {
        let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(rest.len());
        rest[..end].to_owned()
    };
    starts.map(|rest| word(rest.trim_start_matches('"'))).filter(|it| it.starts_with("amends_")).collect()
}

fn in_code() -> BTreeSet<String> {
    let mut text = String::new();
    for dir in ["orchestrator/src", "crates", "workers"] {
        sources(&root().join(dir), &mut text);
    }
    ["counter!(", "gauge!(", "histogram!("].iter().flat_map(|mark| names(&text, mark)).collect()
}

#[test]
fn every_metric_is_described_and_no_other() {
    let described = names(&std::fs::read_to_string(root().join("docs/metrics.md")).unwrap(), "| `");
    let found = in_code();
    assert!(found.len() > 20, "{found:?}");
    assert_eq!(found, described);
}

#[test]
fn what_alerts_watch_exists() {
    let rules = std::fs::read_to_string(root().join("deploy/alerts.yaml")).unwrap();
    let watched: BTreeSet<String> =
        ["max(", "sum(", "increase(", ") ("].iter().flat_map(|mark| names(&rules, mark)).collect();
    assert_eq!(watched.len(), rules.matches("- alert:").count(), "{watched:?}");
    assert!(watched.is_subset(&in_code()), "{watched:?}");
}
