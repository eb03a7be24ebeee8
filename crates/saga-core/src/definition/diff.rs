//! What two texts of a definition have differently, key by key.
//!
//! Owns the comparison. Places, comments and the order of keys do not count; the order of steps does, for states refer
//! to it.

use serde_json::Value;

use super::Diagnostic;
use super::connect::names_in;
use super::diagnostic::Diagnostics;
use super::source::{self, Kind, Node};

const SECTIONS: [&str; 3] = ["steps", "on_compensated", "on_parked"];

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where, from the top: such as `steps`, `pay`, `timeout`.
    pub path: Vec<String>,
    /// What was there.
    pub old: Option<Value>,
    /// What is there now.
    pub new: Option<Value>,
}

/// Compares two texts, in the order of the new one. Two texts without a difference are the same version.
///
/// # Errors
/// When one of them is not YAML.
pub fn diff(old: &str, new: &str) -> Result<Vec<Difference>, Vec<Diagnostic>> {
    let (old, new) = (read(old)?, read(new)?);
    let mut found = Vec::new();
    walk(&mut Vec::new(), Some(&old), Some(&new), &mut found);
    for section in SECTIONS {
        let names = |root| member(root, section).map(names_in).unwrap_or_default();
        let (old, new) = (names(&old), names(&new));
        if !old.iter().filter(|it| new.contains(it)).eq(new.iter().filter(|it| old.contains(it))) {
            let path = vec![section.to_owned()];
            found.push(Difference { path, old: Some(old.into()), new: Some(new.into()) });
        }
    }
    Ok(found)
}

fn read(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let mut told = Diagnostics::default();
    let node = source::parse(text, &mut told);
    told.into_result()?;
    Ok(node.unwrap_or(Node { at: Default::default(), kind: Kind::Null }))
}

fn members(node: &Node) -> impl Iterator<Item = (&str, &Node)> {
    let members = match &node.kind {
        Kind::Map(members) => members.as_slice(),
        _ => &[],
    };
    members.iter().map(|(key, node)| (key.text.as_str(), node))
}

fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    members(node).find(|(key, _)| *key == name).map(|(_, node)| node)
}

fn walk(path: &mut Vec<String>, old: Option<&Node>, new: Option<&Node>, found: &mut Vec<Difference>) {
    let is_map = |node: Option<&Node>| node.is_some_and(|it| matches!(it.kind, Kind::Map(_)));
    // A section of steps that is new has new steps.
    let section = path.len() == 1 && path.first().is_some_and(|it| SECTIONS.contains(&it.as_str()));
    let both = is_map(old) && is_map(new);
    if !both && !(section && (is_map(old) || is_map(new)) && (old.is_none() || new.is_none())) {
        if old.map(Node::canonical) != new.map(Node::canonical) {
            let value = |node: Option<&Node>| node.map(Node::to_value);
            found.push(Difference { path: path.clone(), old: value(old), new: value(new) });
        }
        return;
    }
    let gone =
        old.into_iter().flat_map(members).filter(|(key, _)| new.is_none_or(|it| member(it, key).is_none()));
    for (key, _) in new.into_iter().flat_map(members).chain(gone) {
        path.push(key.to_owned());
        walk(path, old.and_then(|it| member(it, key)), new.and_then(|it| member(it, key)), found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn told(old: &str, new: &str) -> Vec<String> {
        let text = |it: &Option<Value>| it.as_ref().map_or("-".to_owned(), Value::to_string);
        diff(old, new)
            .unwrap()
            .iter()
            .map(|it| format!("{} {} {}", it.path.join("."), text(&it.old), text(&it.new)))
            .collect()
    }

    #[test]
    fn only_what_a_version_consists_of_differs() {
        let old =
            "saga: t\nsteps:\n  a: { worker: w, action: a }\n  b: { after: [a], worker: w, action: b }\n";
        assert_eq!(
            told(
                old,
                "# new\nsteps:\n  a: { action: a, worker: w }\n  b: {after: [a], worker: w, action: b}\nsaga: 't'"
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            told(
                old,
                "saga: t\nsteps:\n  b: { worker: w, action: c }\n  a: { worker: w, action: a }\non_parked:\n  n: {}\n"
            ),
            [
                "steps.b.action \"b\" \"c\"",
                "steps.b.after [\"a\"] -",
                "on_parked.n - {}",
                "steps [\"a\",\"b\"] [\"b\",\"a\"]"
            ]
        );
        assert!(diff(old, "a: [").is_err());
    }
}
