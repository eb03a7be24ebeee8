//! `http` steps: a REST call that is written into the definition and made by the built-in worker `http`.
//!
//! Owns how such a step is read, and the input that the worker gets for it: what may come from outside (values in an
//! address, a body, a header) never stands where the worker looks for structure (a host, a secret's name, a place in
//! the output). It must not make calls.

use serde_json::Number;

use super::Work;
use super::diagnostic::{Code, Diagnostics, Position};
use super::expression::{end_of, whole};
use super::fields::{Fields, duration_ms, is_name, text};
use super::source::{Key, Kind, Node};

/// The worker that makes the calls. No other step may name it.
pub const WORKER: &str = "http";
/// Its action.
pub const ACTION: &str = "call";
/// What undoes it.
pub const COMPENSATION: &str = "undo";
/// The longest that one request may take, in ms.
pub const TIMEOUT_MS_MAX: i64 = 20_000;

const TIMEOUT_MS: i64 = 10_000;
const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";
const RETRYABLE: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];
const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "DELETE", "GET"];
/// Headers that carry credentials: what they hold is never in a definition.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Headers that belong to the connection, or that the worker writes itself.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "expect"];

/// Whether a JSON pointer into the worker's input names a value that stands in an address or a header: the worker takes
/// a text, a number or a boolean there.
pub(super) fn is_piece(pointer: &str) -> bool {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    matches!(segments[..], ["call" | "check" | "undo", "url" | "headers", _, "value"])
}

/// What the worker does for such a step.
pub(super) fn work() -> Work {
    Work::Action { worker: WORKER.to_owned(), action: ACTION.to_owned() }
}

/// The parts of the worker's input, as far as they could be read.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<(&'static str, Node)>);

impl Parts {
    /// The worker's input.
    pub(super) fn into_input(self, at: Position) -> Node {
        map(at, self.0)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| *key == name)
    }
}

/// Reads what stands under `http`.
pub(super) fn read(node: &Node, told: &mut Diagnostics) -> Option<Parts> {
    let mut fields = Fields::of(node, "`http`", told)?;
    let check = fields.take("check").map(|it| check(it, told));
    let call = request(fields, Values::Known, told)?;
    let mut parts = Parts(vec![("call", call)]);
    if let Some(check) = check {
        parts.0.push(("check", check?));
    }
    Some(parts)
}

/// Reads what stands under `http` of a compensation.
pub(super) fn read_undo(node: &Node, parts: &mut Parts, told: &mut Diagnostics) -> Option<()> {
    let request = request(Fields::of(node, "`http`", told)?, Values::WithOutput, told)?;
    parts.0.push(("undo", request));
    if parts.has("call") && !parts.has("check") {
        told.add(
            node.at,
            Code::MissingKey,
            "the call is undone by another, and nobody could find out whether it took effect",
            "give the step's `http` a `check`, such as check: { url: \"https://…/${input.order_id}\" }",
        );
    }
    Some(())
}

/// What expressions may read beside what they read everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Known,
    /// The output of the call that is undone, which only the worker knows for certain: `${output.…}`, a plain path.
    WithOutput,
}

fn request(mut fields: Fields<'_>, values: Values, told: &mut Diagnostics) -> Option<Node> {
    let at = fields.at;
    let method_node = fields.need("method", "write `method: POST`", told);
    let method = method_node.and_then(|it| text(it, "`method`", told));
    if let (Some(node), Some(method)) = (method_node, method)
        && !METHODS.contains(&method)
    {
        let message = format!("`method` must be one of {}", METHODS.join(", "));
        told.add(node.at, Code::BadValue, message, "use POST to make something happen");
    }
    let url = address(&mut fields, values, told);
    let headers = fields.take("headers").map_or_else(Vec::new, |it| headers(it, told));
    let (body, fill) = fields.take("body").map_or((None, Vec::new()), |it| body(it, values));
    let success_default: &[u16] = if values == Values::WithOutput { &[404, 410] } else { &[] };
    let success = fields.take("success").map(|it| statuses(it, "`success`", told));
    let retryable = fields.take("retryable").map(|it| statuses(it, "`retryable`", told));
    let header = fields.take("idempotency_header");
    let idempotency = match header {
        Some(node) => text(node, "`idempotency_header`", told).filter(|it| header_name(it, node.at, told)),
        None => Some(IDEMPOTENCY_HEADER),
    };
    let timeout_ms = timeout(&mut fields, told);
    fields.finish(told);
    let mut members = vec![
        ("method", string(at, method?)),
        ("url", url?),
        ("headers", list(at, headers)),
        ("fill", list(at, fill)),
        ("retryable", retryable.unwrap_or_else(|| numbers(at, &RETRYABLE))),
        ("idempotency_header", string(at, idempotency?)),
        ("timeout_ms", number(at, timeout_ms)),
    ];
    // Without a list, every status of 200 to 299 is a success, and for what undoes "it is not there" too.
    match success {
        Some(success) => members.push(("success", success)),
        None => members.push(("also_success", numbers(at, success_default))),
    }
    members.extend(body.map(|body| ("body", body)));
    Some(map(at, members))
}

fn check(node: &Node, told: &mut Diagnostics) -> Option<Node> {
    let mut fields = Fields::of(node, "`check`", told)?;
    let url = address(&mut fields, Values::Known, told);
    let headers = fields.take("headers").map_or_else(Vec::new, |it| headers(it, told));
    let found = fields.take("found").map(|it| statuses(it, "`found`", told));
    let absent = fields.take("absent").map(|it| statuses(it, "`absent`", told));
    let timeout_ms = timeout(&mut fields, told);
    fields.finish(told);
    let at = node.at;
    Some(map(
        at,
        vec![
            ("url", url?),
            ("headers", list(at, headers)),
            ("found", found.unwrap_or_else(|| numbers(at, &[200]))),
            ("absent", absent.unwrap_or_else(|| numbers(at, &[404, 410]))),
            ("timeout_ms", number(at, timeout_ms)),
        ],
    ))
}

fn timeout(fields: &mut Fields<'_>, told: &mut Diagnostics) -> i64 {
    let Some(node) = fields.take("timeout") else { return TIMEOUT_MS };
    let timeout_ms = duration_ms(node, "`timeout`", told).unwrap_or(TIMEOUT_MS);
    if timeout_ms > TIMEOUT_MS_MAX {
        let message = format!("one request may take at most {} s", TIMEOUT_MS_MAX / 1000);
        let remedy = "shorten it; what takes longer is asked for with `check`, or told by a signal";
        told.add(node.at, Code::OutOfBounds, message, remedy);
    }
    timeout_ms
}

fn address(fields: &mut Fields<'_>, values: Values, told: &mut Diagnostics) -> Option<Node> {
    let node = fields.need("url", "write an address such as https://api.example.com/things", told)?;
    let given = text(node, "`url`", told)?;
    let mut pieces = Vec::new();
    let mut rest = given;
    while let Some(start) = rest.find("${") {
        if start > 0 {
            pieces.push(("text", rest[..start].to_owned()));
        }
        let inside = &rest[start + 2..];
        let Some(end) = end_of(inside) else {
            told.add(node.at, Code::Expression, "bad expression in `url`: its `}` is missing", "add the `}`");
            return None;
        };
        pieces.push(match output_pointer(&inside[..end]).filter(|_| values == Values::WithOutput) {
            Some(pointer) => ("output", pointer),
            None => ("value", rest[start..start + 2 + end + 1].to_owned()),
        });
        rest = &inside[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(("text", rest.to_owned()));
    }
    let host_is_fixed = match pieces.as_slice() {
        [("text", first)] => is_base(first, true),
        [("text", first), ..] => is_base(first, false),
        _ => false,
    };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"{}<>\"\\^`|#".contains(&b));
    let clean = pieces.iter().all(|(kind, text)| *kind != "text" || (plain(text) && !text.ends_with('$')));
    if !host_is_fixed || !clean || given.len() > 2_000 {
        told.add(
            node.at,
            Code::BadValue,
            "`url` must be an address of http or https whose host stands there in full",
            "write one such as https://api.example.com/things/${input.id}: expressions go behind the host",
        );
        return None;
    }
    let pieces = pieces.into_iter().map(|(kind, text)| map(node.at, vec![(kind, string(node.at, &text))]));
    Some(list(node.at, pieces.collect()))
}

/// Whether `text` begins with a scheme and a whole host: to its end if it is the whole address, up to a slash or a
/// question mark otherwise.
fn is_base(text: &str, whole: bool) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let end = rest.find(['/', '?']);
    let host = &rest[..end.unwrap_or(rest.len())];
    let good = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    !host.is_empty() && host.chars().all(good) && (whole || end.is_some())
}

/// `output.a.b` as a JSON pointer.
fn output_pointer(expression: &str) -> Option<String> {
    let path = expression.trim().strip_prefix("output.")?;
    let good =
        |segment: &str| !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    path.split('.').all(good).then(|| format!("/{}", path.replace('.', "/")))
}

/// The body, without what only the worker can fill in, and the places of that.
fn body(node: &Node, values: Values) -> (Option<Node>, Vec<Node>) {
    let mut body = node.clone();
    let mut fill = Vec::new();
    if values == Values::WithOutput {
        take_output(&mut body, &mut String::new(), &mut fill);
    }
    (Some(body), fill)
}

fn take_output(node: &mut Node, pointer: &mut String, fill: &mut Vec<Node>) {
    let here = pointer.len();
    let at = node.at;
    match &mut node.kind {
        Kind::String(text) => {
            let Some(found) = whole(text).and_then(output_pointer) else { return };
            fill.push(map(at, vec![("at", string(at, &escaped(pointer))), ("output", string(at, &found))]));
            node.kind = Kind::Null;
        }
        Kind::List(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                pointer.push_str(&format!("/{index}"));
                take_output(node, pointer, fill);
                pointer.truncate(here);
            }
        }
        Kind::Map(members) => {
            for (key, node) in members {
                pointer.push('/');
                pointer.push_str(&key.text.replace('~', "~0").replace('/', "~1"));
                take_output(node, pointer, fill);
                pointer.truncate(here);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => {}
    }
}

/// A text that a template leaves as it is.
fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

fn headers(node: &Node, told: &mut Diagnostics) -> Vec<Node> {
    let Kind::Map(members) = &node.kind else {
        let message = format!("`headers` must be a map, not {}", node.kind_name());
        told.add(node.at, Code::BadValue, message, "write `Name: value` pairs");
        return Vec::new();
    };
    members.iter().filter_map(|(key, value)| header(key, value, told)).collect()
}

fn header(key: &Key, value: &Node, told: &mut Diagnostics) -> Option<Node> {
    if !header_name(&key.text, key.at, told) {
        return None;
    }
    let name = ("name", string(key.at, &key.text));
    if let Kind::Map(_) = &value.kind {
        let mut fields = Fields::of(value, format!("the header `{}`", key.text), told)?;
        let secret_node = fields.need("secret", "name the secret: { secret: carrier_key }", told);
        let secret = secret_node.and_then(|it| text(it, "`secret`", told));
        if let (Some(node), Some(secret)) = (secret_node, secret)
            && !is_name(secret, "_")
        {
            told.add(node.at, Code::BadName, "the secret is not a name", super::fields::name_remedy("_"));
        }
        let prefix = fields.take("prefix").and_then(|it| text(it, "`prefix`", told)).unwrap_or_default();
        fields.finish(told);
        let prefix = ("prefix", string(value.at, &escaped(prefix)));
        return Some(map(key.at, vec![name, ("secret", string(value.at, secret?)), prefix]));
    }
    text(value, &format!("the header `{}`", key.text), told)?;
    if SECRET_HEADERS.contains(&key.text.to_ascii_lowercase().as_str()) {
        let message = format!("`{}` carries a secret, which never stands in a definition", key.text);
        let remedy = "refer to it: { secret: carrier_key, prefix: \"Bearer \" }";
        told.add(value.at, Code::BadValue, message, remedy);
        return None;
    }
    Some(map(key.at, vec![name, ("value", value.clone())]))
}

fn header_name(name: &str, at: Position, told: &mut Diagnostics) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 100 || !name.chars().all(good) {
        told.add(at, Code::BadName, "this is not the name of a header", "use letters, digits and `-`");
        return false;
    }
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        let message = format!("the header `{name}` is written by the worker");
        told.add(at, Code::BadValue, message, "remove it: bodies are JSON, and the address names the host");
        return false;
    }
    true
}

fn statuses(node: &Node, what: &str, told: &mut Diagnostics) -> Node {
    let status = |node: &Node| match &node.kind {
        Kind::Number(number) => number.as_u64().is_some_and(|it| (200..=599).contains(&it)),
        _ => false,
    };
    let good = matches!(&node.kind, Kind::List(nodes) if !nodes.is_empty() && nodes.iter().all(status));
    if !good {
        let message = format!("{what} must be a list of HTTP statuses");
        told.add(node.at, Code::BadValue, message, "write numbers of 200 to 599, such as [200, 201]");
    }
    node.clone()
}

fn map(at: Position, members: Vec<(&'static str, Node)>) -> Node {
    let members = members.into_iter().map(|(key, node)| (Key { at, text: key.to_owned() }, node));
    Node { at, kind: Kind::Map(members.collect()) }
}

fn list(at: Position, nodes: Vec<Node>) -> Node {
    Node { at, kind: Kind::List(nodes) }
}

fn string(at: Position, text: &str) -> Node {
    Node { at, kind: Kind::String(text.to_owned()) }
}

fn number(at: Position, number: i64) -> Node {
    Node { at, kind: Kind::Number(Number::from(number)) }
}

fn numbers(at: Position, numbers: &[u16]) -> Node {
    list(at, numbers.iter().map(|&it| number(at, i64::from(it))).collect())
}
