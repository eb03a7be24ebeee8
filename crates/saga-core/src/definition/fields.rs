//! Reads the members of a map in the source: known ones by type, unknown ones as mistakes with a suggestion.

use super::diagnostic::{Code, Diagnostics, Position};
use super::expression::{Expression, ExpressionError};
use super::source::{Key, Kind, Node};
use super::template::Template;

/// The longest duration, in ms: 366 days.
pub(super) const DURATION_MS_MAX: i64 = 366 * 24 * 60 * 60 * 1000;

/// The members of one map that have not been taken yet.
pub(super) struct Fields<'n> {
    pub(super) at: Position,
    what: String,
    left: Vec<(&'n Key, &'n Node)>,
    known: Vec<&'static str>,
    hidden: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The members of `node`, which `what` names in messages.
    pub(super) fn of(node: &'n Node, what: impl Into<String>, told: &mut Diagnostics) -> Option<Self> {
        let what = what.into();
        match &node.kind {
            Kind::Map(members) => {
                let left = members.iter().map(|(key, node)| (key, node)).collect();
                Some(Self { at: node.at, what, left, known: Vec::new(), hidden: Vec::new() })
            }
            _ => {
                wrong(node, &format!("{what} must be a map"), "write `name: value` pairs", told);
                None
            }
        }
    }

    /// Takes a member; an empty one (`key:` and nothing else) counts as absent.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let at = self.left.iter().position(|(key, _)| key.text == name)?;
        let (_, node) = self.left.remove(at);
        (node.kind != Kind::Null).then_some(node)
    }

    /// Takes a member that must be there.
    pub(super) fn need(
        &mut self,
        name: &'static str,
        remedy: &str,
        told: &mut Diagnostics,
    ) -> Option<&'n Node> {
        let found = self.take(name);
        if found.is_none() {
            told.add(self.at, Code::MissingKey, format!("{} has no `{name}`", self.what), remedy);
        }
        found
    }

    /// Takes members that the language will have and this build does not know yet.
    pub(super) fn later(&mut self, names: &[&'static str], told: &mut Diagnostics) {
        for name in names {
            if let Some(node) = self.take(name) {
                let (message, remedy) = match *name {
                    "limit" | "limits" => (
                        format!("`{name}` is no part of a definition: limits belong to the worker"),
                        "start the worker with --limit ACTION=20 (calls at once) or ACTION=50/s",
                    ),
                    _ => (format!("`{name}` is not yet supported"), "leave it away"),
                };
                told.add(node.at, Code::NotYetSupported, message, remedy);
            }
            self.known.pop();
        }
    }

    /// Takes members that do not go with the kind of step at hand.
    pub(super) fn refuse(&mut self, names: &[&'static str], why: &str, told: &mut Diagnostics) {
        for name in names {
            if let Some(node) = self.take(name) {
                told.add(node.at, Code::WorkKind, self.cannot_have(name, why), "remove it");
            }
        }
        self.hide(names);
    }

    /// How it is said that a member does not go with the kind of step at hand.
    pub(super) fn cannot_have(&self, name: &str, why: &str) -> String {
        format!("{} cannot have `{name}`: {why}", self.what)
    }

    /// Does not suggest these, which are known and cannot be here.
    pub(super) fn hide(&mut self, names: &[&'static str]) {
        self.hidden.extend(names);
    }

    /// Whether a member is there and not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(key, node)| key.text == name && node.kind != Kind::Null)
    }

    /// What was not taken is unknown.
    pub(super) fn finish(mut self, told: &mut Diagnostics) {
        self.known.retain(|known| !self.hidden.contains(known));
        for (key, _) in &self.left {
            let remedy = match near(&self.known, &key.text) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            let shown: String = key.text.chars().take(60).collect();
            told.add(key.at, Code::UnknownKey, format!("{} has no key `{shown}`", self.what), remedy);
        }
    }
}

fn wrong(node: &Node, message: &str, remedy: &str, told: &mut Diagnostics) {
    told.add(node.at, Code::BadValue, format!("{message}, not {}", node.kind_name()), remedy);
}

/// A text.
pub(super) fn text<'n>(node: &'n Node, what: &str, told: &mut Diagnostics) -> Option<&'n str> {
    match &node.kind {
        Kind::String(text) => Some(text),
        _ => {
            wrong(node, &format!("{what} must be a text"), "put it into quotes", told);
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, what: &str, told: &mut Diagnostics) -> Option<bool> {
    match node.kind {
        Kind::Bool(flag) => Some(flag),
        _ => {
            wrong(node, &format!("{what} must be true or false"), "write true or false", told);
            None
        }
    }
}

/// A name by the rule `[a-z][a-z0-9…]*`, with `also` among the later characters, at most 64 bytes.
pub(super) fn name<'n>(node: &'n Node, what: &str, also: &str, told: &mut Diagnostics) -> Option<&'n str> {
    let name = text(node, what, told)?;
    if is_name(name, also) {
        return Some(name);
    }
    let shown: String = name.chars().take(60).collect();
    told.add(node.at, Code::BadName, format!("{what} `{shown}` is not a name"), name_remedy(also));
    None
}

pub(super) fn is_name(name: &str, also: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good) && name.len() <= 64
}

pub(super) fn name_remedy(also: &str) -> String {
    let also: Vec<String> = also.chars().map(|c| format!("`{c}`")).collect();
    format!("use lower-case letters, digits and {}, starting with a letter, at most 64", also.join(", "))
}

/// A duration such as `200ms`, `10s`, `5m`, `24h` or `7d`, in ms.
pub(super) fn duration_ms(node: &Node, what: &str, told: &mut Diagnostics) -> Option<i64> {
    let remedy = "write a number with ms, s, m, h or d, such as 500ms or 10m";
    let text = match &node.kind {
        Kind::String(text) => text,
        _ => {
            wrong(node, &format!("{what} must be a duration"), remedy, told);
            return None;
        }
    };
    let Some(ms) = parse_duration(text) else {
        let shown: String = text.chars().take(40).collect();
        told.add(node.at, Code::BadValue, format!("{what} `{shown}` is not a duration"), remedy);
        return None;
    };
    if (1..=DURATION_MS_MAX).contains(&ms) {
        return Some(ms);
    }
    told.add(
        node.at,
        Code::OutOfBounds,
        format!("{what} must be 1 ms to 366 days"),
        "choose another duration",
    );
    None
}

pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit_ms: i64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // Too many digits are out of bounds, not a wrong spelling.
    if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(i64::MAX).saturating_mul(unit_ms)) }
}

/// A template, as far as it can stand.
pub(super) fn template(node: &Node, told: &mut Diagnostics) -> Template {
    let (template, errors) = Template::parse_partly(&node.to_value());
    for error in errors {
        tell_expression(node.at_pointer(&error.pointer).at, &error, told);
    }
    template
}

/// An expression, with or without `${…}`.
pub(super) fn expression(node: &Node, what: &str, told: &mut Diagnostics) -> Option<Expression> {
    let text = text(node, what, told)?;
    Expression::parse(text).map_err(|error| tell_expression(node.at, &error, told)).ok()
}

fn tell_expression(at: Position, error: &ExpressionError, told: &mut Diagnostics) {
    told.add(at, Code::Expression, format!("bad expression {error}"), "correct the CEL expression");
}

/// The word that was probably meant.
pub(super) fn near<'k>(known: &[&'k str], text: &str) -> Option<&'k str> {
    let nearest = known.iter().map(|known| (distance(known, text), *known)).min();
    nearest.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}

/// How many characters must change to make `a` into `b`; a number beyond 2 when many.
pub(super) fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 || b.len() > 60 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
