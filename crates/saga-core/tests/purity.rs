//! `saga-core` is pure: no IO, no clock, no random source. Time and ids arrive in events.

#![allow(clippy::unwrap_used)]

use std::path::Path;

const FORBIDDEN_CRATES: [&str; 8] =
    ["tokio", "sqlx", "rdkafka", "reqwest", "axum", "redis", "rand", "saga-bus"];
const FORBIDDEN_WORDS: [&str; 8] =
    ["SystemTime", "Instant::now", "Utc::now", "std::fs", "std::net", "std::env", "now_v7", "new_v4"];

#[test]
fn no_dependency_of_saga_core_does_io_or_has_a_clock() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for name in FORBIDDEN_CRATES {
        let named = dependencies.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(name));
        assert!(!named, "saga-core must not depend on {name}");
    }
}

#[test]
fn no_source_of_saga_core_reads_a_clock_or_the_outside() {
    let mut files = 0;
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files > 10, "the sources were found");
}

fn visit(folder: &Path, files: &mut u32) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            *files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in FORBIDDEN_WORDS {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}
