//! A definition's text as a tree in which every node knows its place.
//!
//! Owns the YAML and the bounds on it (size, depth, aliases), and the canonical rendering that versions are hashed
//! from. It must not know what the keys mean.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use serde_saphyr::budget::BudgetBreach;

use super::diagnostic::{Code, Diagnostics, Position};

/// The longest definition, in bytes.
pub const SOURCE_BYTES_MAX: usize = 256 * 1024;
/// How deep maps and lists may be nested.
const DEPTH_MAX: usize = 48;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A member's name with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

/// Reads the text; what YAML itself refuses is the only mistake told.
pub(super) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > SOURCE_BYTES_MAX {
        diagnostics.add(
            start,
            Code::OutOfBounds,
            format!("the definition is longer than {SOURCE_BYTES_MAX} bytes"),
            "split it into child sagas",
        );
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: 50_000,
            max_events: 200_000,
            max_aliases: 1_000,
            max_anchors: 500,
            max_documents: 1,
            max_total_scalar_bytes: SOURCE_BYTES_MAX,
            max_recorded_anchor_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(node(raw)),
        Err(error) => {
            let at = error.location().map_or(start, |it| position(it.line(), it.column()));
            let (message, remedy) = in_words(&error);
            diagnostics.add(at, Code::Yaml, message, remedy);
            None
        }
    }
}

/// What the library refuses: what is within YAML and beyond our bounds in words of our own, for its words are about its
/// options; mistakes of YAML in its words.
fn in_words(error: &serde_saphyr::Error) -> (String, &'static str) {
    use serde_saphyr::Error;
    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
    let words = first.split(" at line ").next().unwrap_or_default();
    let too_deep = || {
        let message = format!("this is nested deeper than {DEPTH_MAX} maps and lists");
        (message, "write it flatter; a schema may name its parts under `$defs`")
    };
    let too_many_aliases = || {
        let message = "the aliases stand for more than a definition may hold".to_owned();
        (message, "write out what they stand for, or use fewer of them")
    };
    let mut inner = error;
    while let Error::AliasError { error: it, .. } = inner {
        inner = it;
    }
    match inner {
        Error::MultipleDocuments { .. } | Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            let message = "a second document begins here, and a file holds one definition".to_owned();
            (message, "move what follows `---` to a file of its own")
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key: String = key.iter().flat_map(|it| it.chars()).take(60).collect();
            (format!("the key `{key}` stands twice in this map"), "keep one of them, or rename one")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(),
        // The parser has a bound of its own on brackets, and no kind of error for it.
        _ if words.ends_with("recursion limit exceeded") => too_deep(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget {
            breach:
                BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::RecordedAnchorEvents { .. }
                | BudgetBreach::RecordedAnchorBytes { .. }
                | BudgetBreach::AliasAnchorRatio { .. },
            ..
        } => too_many_aliases(),
        Error::Budget {
            breach:
                BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } | BudgetBreach::ScalarBytes { .. },
            ..
        } => ("this is more than a definition may hold".to_owned(), "split it into child sagas"),
        _ => {
            let words: String = words.chars().take(300).collect();
            (format!("this is not YAML: {words}"), "correct the YAML")
        }
    }
}

impl Node {
    /// The value without places.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(it) => Value::Bool(*it),
            Kind::Number(it) => Value::Number(it.clone()),
            Kind::String(it) => Value::String(it.clone()),
            Kind::List(nodes) => nodes.iter().map(Self::to_value).collect(),
            Kind::Map(members) => {
                let members = members.iter().map(|(key, node)| (key.text.clone(), node.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// The node that a JSON pointer below this one names; the nearest one above it, if it is not there.
    pub(super) fn at_pointer(&self, pointer: &str) -> &Self {
        let mut here = self;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = match &here.kind {
                Kind::Map(members) => {
                    members.iter().find(|(key, _)| key.text == segment).map(|(_, node)| node)
                }
                Kind::List(nodes) => segment.parse::<usize>().ok().and_then(|at| nodes.get(at)),
                _ => None,
            };
            let Some(next) = next else { break };
            here = next;
        }
        here
    }

    /// What it is, in words.
    pub(super) const fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// Renders the tree so that comments, whitespace, quoting and the order of keys do not show, except for the
    /// order of the steps, which states refer to.
    pub(super) fn canonical(&self) -> String {
        let mut out = String::new();
        self.render(&mut out, 0, false);
        out
    }

    fn render(&self, out: &mut String, depth: usize, in_order: bool) {
        match &self.kind {
            Kind::List(nodes) => {
                out.push('[');
                for node in nodes {
                    node.render(out, depth + 1, false);
                    out.push(',');
                }
                out.push(']');
            }
            Kind::Map(members) => {
                let mut members: Vec<&(Key, Self)> = members.iter().collect();
                if !in_order {
                    members.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
                }
                out.push('{');
                for (key, node) in members {
                    let steps =
                        depth == 0 && ["steps", "on_compensated", "on_parked"].contains(&key.text.as_str());
                    let _ = write!(out, "{}:", Value::from(key.text.as_str()));
                    node.render(out, depth + 1, steps);
                    out.push(',');
                }
                out.push('}');
            }
            _ => out.push_str(&self.to_value().to_string()),
        }
    }
}

fn position(line: u64, column: u64) -> Position {
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Position { line: narrow(line), column: narrow(column) }
}

fn at<T>(spanned: &Spanned<T>) -> Position {
    position(spanned.referenced.line(), spanned.referenced.column())
}

fn node(raw: Spanned<Raw>) -> Node {
    let at_node = at(&raw);
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Bool(it) => Kind::Bool(it),
        Raw::Number(it) => Kind::Number(it),
        Raw::String(it) => Kind::String(it),
        Raw::List(nodes) => Kind::List(nodes.into_iter().map(node).collect()),
        Raw::Map(members) => {
            let members =
                members.into_iter().map(|(key, value)| (Key { at: at(&key), text: key.value }, node(value)));
            Kind::Map(members.collect())
        }
    };
    Node { at: at_node, kind }
}

enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON's kinds")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Raw, E> {
        Ok(Raw::Number(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Raw, E> {
        Ok(Raw::Number(it.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, it: f64) -> Result<Raw, E> {
        Number::from_f64(it).map(Raw::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, it: &str) -> Result<Raw, E> {
        Ok(Raw::String(it.to_owned()))
    }

    fn visit_string<E>(self, it: String) -> Result<Raw, E> {
        Ok(Raw::String(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Raw::Map(members))
    }
}
