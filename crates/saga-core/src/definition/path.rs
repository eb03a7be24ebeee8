//! Plain paths such as `input.items[0].sku`: the expressions that most definitions consist of.
//!
//! Owns their grammar and how they are followed through JSON by reference. It must not evaluate anything.

use std::fmt;

use serde_json::Value;

/// One step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// An object's member.
    Key(Box<str>),
    /// An array's element.
    Index(usize),
}

/// Steps into a JSON value, from the outside in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<Segment>);

impl Path {
    /// The value that the path leads to.
    pub fn follow<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(root, |value, segment| match segment {
            Segment::Key(key) => value.as_object()?.get(&**key),
            Segment::Index(at) => value.as_array()?.get(*at),
        })
    }

    /// The first member's name and what follows it, when the path begins with a name.
    pub(super) fn split_first_key(&self) -> Option<(&str, Self)> {
        match self.0.split_first()? {
            (Segment::Key(key), rest) => Some((key, Self(rest.to_vec()))),
            (Segment::Index(_), _) => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Key(key) => f.write_str(&member("", key)),
            Segment::Index(at) => write!(f, "[{at}]"),
        })
    }
}

/// Reads `root.a.b[0]`; nothing when `text` is more than a plain path.
pub(super) fn parse(text: &str) -> Option<(&str, Path)> {
    let (root, mut rest) = identifier(text)?;
    let mut segments = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let (key, after) = identifier(after)?;
            segments.push(Segment::Key(key.into()));
            rest = after;
        } else {
            let (digits, after) = rest.strip_prefix('[')?.split_once(']')?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            segments.push(Segment::Index(digits.parse().ok().filter(|_| plain)?));
            rest = after;
        }
    }
    Some((root, Path(segments)))
}

/// Words that CEL does not take as identifiers.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
];

/// Whether a member of this name can be written behind a dot: there CEL takes reserved words too, but for four.
pub(super) fn is_selector(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(good)
        && name.starts_with(|c: char| !c.is_ascii_digit())
        && !["in", "true", "false", "null"].contains(&name)
}

/// A member as an expression reads it.
pub(super) fn member(of: &str, key: &str) -> String {
    if is_selector(key) { format!("{of}.{key}") } else { format!("{of}[{}]", quoted(key)) }
}

/// The output of a step as an expression reads it.
pub(super) fn output_of(step: &str) -> String {
    member(&member("steps", step), "output")
}

/// A name as a literal of an expression.
pub(super) fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn identifier(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let good =
        name.starts_with(|c: char| !c.is_ascii_digit()) && !RESERVED.contains(&name) && name != "while";
    good.then_some((name, rest))
}
