//! Broken definitions, each with its golden diagnostics as an author sees them; and the pages about their codes.
//!
//! A golden is a pair in `definitions/broken/`: `NAME.yaml` and `NAME.txt`. `AMENDS_BLESS=1` writes the latter anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use saga_core::definition::{load, snippet};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions/broken")
}

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics")
}

#[test]
fn every_mistake_is_shown_as_its_golden_says() {
    let (mut count, mut codes, mut wrong) = (0, BTreeSet::new(), Vec::new());
    let bless = std::env::var_os("AMENDS_BLESS").is_some();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = fs::read_to_string(&path).unwrap();
        let told = load(&source).map(|it| it.name).expect_err(name);
        codes.extend(told.iter().map(|it| it.code));
        let shown: Vec<String> = told.iter().map(|it| snippet::show(name, &source, it)).collect();
        let shown = format!("{}\n", shown.join("\n\n"));
        let golden = path.with_extension("txt");
        if bless {
            fs::write(&golden, &shown).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{name}:\n{shown}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}\nAMENDS_BLESS=1 writes them anew", wrong.join("\n"));
    assert!(count >= 40, "{count} broken definitions");
    let known: BTreeSet<String> = (1..=27).map(|n| format!("E{n:03}")).collect();
    let missing: Vec<&String> = known.iter().filter(|code| !codes.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "no broken definition shows {missing:?}");
}

#[test]
fn every_code_has_a_page_whose_examples_are_true() {
    for number in 1..=27 {
        let code = format!("E{number:03}");
        let page = fs::read_to_string(pages().join(format!("{code}.md"))).expect(&code);
        let examples: Vec<&str> =
            page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let [wrong, right] = examples[..] else { panic!("{code} has {} examples", examples.len()) };
        let told = load(wrong).map(|it| it.name).expect_err(&code);
        assert!(told.iter().any(|it| it.code == code), "{code}: {told:?}");
        assert!(load(right).is_ok(), "{code}: {:?}", load(right).map(|it| it.name));
    }
    let index = fs::read_to_string(pages().join("README.md")).unwrap();
    assert_eq!(index.matches(".md) |").count(), 27);
}
