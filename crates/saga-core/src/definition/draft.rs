//! One step as it stands in the source: read key by key, not yet connected with the others.

use std::borrow::Cow;

use saga_protocol::StepName;

use super::diagnostic::{Code, Diagnostics, Position};
use super::fields::{self, DURATION_MS_MAX, Fields, duration_ms, expression, flag, name, template};
use super::http;
use super::source::{Key, Kind, Node};
use super::{Compensation, Expression, OnFailure, RetryPolicy, Template, Turn, Work};

const EXECUTE_RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 5, initial_ms: 200, cap_ms: 10_000, budget_ms: None };
const COMPENSATE_RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 100, initial_ms: 500, cap_ms: 300_000, budget_ms: Some(72 * 3_600_000) };
const EXECUTE_TIMEOUT_MS: i64 = 30_000;
const COMPENSATE_TIMEOUT_MS: i64 = 60_000;
const ATTEMPTS_MAX: u64 = 1_000;
/// The keys of steps that are not an HTTP call.
const OTHER_KINDS: [&str; 4] = ["worker", "action", "wait", "saga"];

/// A step and the places of what may be wrong with it in company.
pub(super) struct Draft<'n> {
    pub(super) name: StepName,
    pub(super) at: Position,
    pub(super) turn: Turn,
    pub(super) after: Vec<(&'n str, Position)>,
    pub(super) when: Option<(Expression, Position)>,
    pub(super) foreach: Option<(Expression, Position)>,
    /// None when a mistake in it was told already.
    pub(super) work: Option<Work>,
    pub(super) input: Template,
    pub(super) input_node: Option<Cow<'n, Node>>,
    /// What its author says of its output; expressions that read it are checked against it.
    pub(super) output_schema: Option<serde_json::Value>,
    pub(super) undo: Undo,
    pub(super) retry: RetryPolicy,
    /// Where it says how long a wait or a child saga may take at most.
    pub(super) waits_at: Option<Position>,
    pub(super) timeout_ms: i64,
    pub(super) pivot: Option<Position>,
    pub(super) optional: bool,
    pub(super) on_rejected: Option<(OnFailure, Position)>,
    pub(super) on_exhausted: Option<(OnFailure, Position)>,
}

/// What the source says of undoing.
pub(super) enum Undo {
    /// Nothing.
    Unsaid,
    /// `compensation: none`: the step leaves nothing behind.
    Nothing,
    /// How.
    By(Compensation, Position),
    /// A mistake in it was told already.
    Broken,
}

/// Reads one step.
pub(super) fn read<'n>(
    key: &'n Key,
    node: &'n Node,
    turn: Turn,
    told: &mut Diagnostics,
) -> Option<Draft<'n>> {
    let step_name = StepName::new(&key.text);
    if let Err(error) = &step_name {
        told.add(
            key.at,
            Code::BadName,
            error.to_string().split(": ").next().unwrap_or_default(),
            fields::name_remedy("_"),
        );
    }
    let shown: String = key.text.chars().take(60).collect();
    let mut fields = Fields::of(node, format!("step `{shown}`"), told)?;
    fields.later(&["limit", "approval", "labels"], told);
    let timeout_node = fields.take("timeout");
    let timeout = timeout_node.and_then(|it| duration_ms(it, "`timeout`", told));
    let said = |pointer: &str| Some(node.at_pointer(pointer)).filter(|it| !matches!(it.kind, Kind::Map(_)));
    let waits_at = said("/wait/timeout").or_else(|| said("/timeout")).map(|it| it.at);
    let is_http = fields.has("http") && !OTHER_KINDS.iter().any(|kind| fields.has(kind));
    let mut http = None;
    let (work, waits_ms) = if is_http {
        http = fields.take("http").and_then(|it| http::read(it, told));
        (http.is_some().then(http::work), None)
    } else {
        work(&mut fields, timeout.is_none(), told)
    };
    let is_action = !matches!(work, Some(Work::Sleep { .. } | Work::Signal { .. } | Work::Child { .. }));
    let undo = match turn == Turn::Graph && is_action {
        true if is_http => undo_by_call(&mut fields, http.get_or_insert_default(), told),
        true => undo(&mut fields, told),
        false => Undo::Unsaid,
    };
    if is_http {
        fields.refuse(&["input"], "what a call sends is its `body`", told);
        fields.hide(&OTHER_KINDS);
    }
    if turn == Turn::Graph {
        refuse_by_kind(work.as_ref(), timeout_node, &mut fields, told);
    } else {
        let why = "it runs by itself when the saga is undone or parked, and its failure is a warning";
        fields.refuse(
            &[
                "after",
                "pivot",
                "optional",
                "compensation",
                "foreach",
                "on_rejected",
                "on_exhausted",
                "output_schema",
            ],
            why,
            told,
        );
        fields.hide(&["wait", "saga"]);
        if !is_action {
            let message = format!("step `{shown}` must be an action of a worker");
            told.add(key.at, Code::WorkKind, message, "give it `worker` and `action`");
        }
    }
    let input_node = match http {
        Some(parts) => Some(Cow::Owned(parts.into_input(key.at))),
        None => fields.take("input").map(Cow::Borrowed),
    };
    let draft = Draft {
        at: key.at,
        turn,
        after: fields.take("after").map_or_else(Vec::new, |it| names(it, told)),
        when: fields.take("when").and_then(|it| Some((expression(it, "`when`", told)?, it.at))),
        foreach: fields.take("foreach").and_then(|it| Some((expression(it, "`foreach`", told)?, it.at))),
        work,
        output_schema: fields
            .take("output_schema")
            .and_then(|it| super::load::schema(it, "`output_schema`", told)),
        input: input_node.as_deref().map_or_else(no_input, |it| template(it, told)),
        input_node,
        undo,
        retry: retry(fields.take("retry"), EXECUTE_RETRY, told),
        waits_at,
        timeout_ms: waits_ms.or(timeout).unwrap_or(EXECUTE_TIMEOUT_MS),
        pivot: fields.take("pivot").and_then(|it| flag(it, "`pivot`", told)?.then_some(it.at)),
        optional: turn != Turn::Graph
            || fields.take("optional").and_then(|it| flag(it, "`optional`", told)).unwrap_or(false),
        on_rejected: fields.take("on_rejected").and_then(|it| on_failure(it, "`on_rejected`", told)),
        on_exhausted: fields.take("on_exhausted").and_then(|it| on_failure(it, "`on_exhausted`", told)),
        name: step_name.ok()?,
    };
    fields.finish(told);
    Some(draft)
}

/// A step without `input` gets an empty object.
fn no_input() -> Template {
    Template::parse(&serde_json::json!({})).unwrap_or_default()
}

/// What a step does, and for how long it waits when it waits.
fn work(fields: &mut Fields<'_>, no_timeout: bool, told: &mut Diagnostics) -> (Option<Work>, Option<i64>) {
    let kinds = ["worker", "http", "wait", "saga"];
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| fields.has(kind)).collect();
    let both = "a step does one thing: `worker` and `action`, or `http`, or `wait`, or `saga`";
    if kinds.len() > 1 {
        told.add(
            fields.at,
            Code::WorkKind,
            format!("a step cannot have {} at once", kinds.join(" and ")),
            both,
        );
    }
    if kinds.is_empty() && !fields.has("action") {
        told.add(fields.at, Code::WorkKind, "the step does nothing", both);
    }
    let http = fields.take("http");
    let worker = fields.take("worker").map(|it| worker(it, told));
    let action = fields.take("action").map(|it| name(it, "the action", "_", told).map(str::to_owned));
    let (wait, child) = (fields.take("wait"), fields.take("saga"));
    if http.is_some() {
        return (None, None);
    }
    match (worker, action, wait, child) {
        (Some(worker), Some(action), None, None) => {
            (worker.zip(action).map(|(worker, action)| Work::Action { worker, action }), None)
        }
        (Some(_), None, None, None) => {
            told.add(
                fields.at,
                Code::MissingKey,
                "a worker's step has no `action`",
                "name one of the worker's actions",
            );
            (None, None)
        }
        (None, Some(_), ..) => {
            told.add(fields.at, Code::MissingKey, "an action has no `worker`", "name the worker");
            (None, None)
        }
        (None, None, Some(wait), None) => {
            let work = wait_for(wait, told);
            let waits_ms = work.as_ref().map(|(_, ms)| *ms);
            (work.map(|(work, _)| work), waits_ms)
        }
        (None, None, None, Some(child)) => {
            let definition = name(child, "the child's definition", "-", told).map(str::to_owned);
            // A child has its own deadline; by default its parent waits as long as it takes.
            let waits_ms = no_timeout.then_some(DURATION_MS_MAX);
            (definition.map(|definition| Work::Child { definition }), waits_ms)
        }
        _ => (None, None),
    }
}

fn worker(node: &Node, told: &mut Diagnostics) -> Option<String> {
    let worker = name(node, "the worker", "_-", told)?;
    if worker == http::WORKER {
        let message = format!("the worker `{worker}` is built in, and is not asked by name");
        told.add(node.at, Code::WorkKind, message, "write the call under `http:`");
        return None;
    }
    Some(worker.to_owned())
}

fn wait_for(node: &Node, told: &mut Diagnostics) -> Option<(Work, i64)> {
    let mut fields = Fields::of(node, "`wait`", told)?;
    let for_ms = fields.take("for").map(|it| duration_ms(it, "`for`", told));
    let signal = fields.take("signal").map(|it| name(it, "the signal", "_-", told).map(str::to_owned));
    let timeout = fields.take("timeout").map(|it| duration_ms(it, "`timeout`", told));
    let at = fields.at;
    fields.finish(told);
    match (for_ms, signal, timeout) {
        (Some(for_ms), None, None) => for_ms.map(|for_ms| (Work::Sleep { for_ms }, for_ms)),
        (None, Some(name), Some(timeout)) => name.zip(timeout).map(|(name, ms)| (Work::Signal { name }, ms)),
        (None, Some(_), None) => {
            told.add(
                at,
                Code::MissingKey,
                "waiting for a signal has no `timeout`",
                "say how long to wait, such as 24h",
            );
            None
        }
        _ => {
            let remedy = "write {for: 30s} or {signal: name, timeout: 24h}";
            told.add(at, Code::WorkKind, "`wait` needs either `for`, or `signal` with `timeout`", remedy);
            None
        }
    }
}

fn refuse_by_kind(
    work: Option<&Work>,
    timeout: Option<&Node>,
    fields: &mut Fields<'_>,
    told: &mut Diagnostics,
) {
    match work {
        Some(Work::Sleep { .. } | Work::Signal { .. }) => {
            let why = "a wait asks no worker";
            fields.refuse(&["input", "retry", "compensation", "pivot"], why, told);
            let is_pause = matches!(work, Some(Work::Sleep { .. }));
            if is_pause {
                fields.refuse(&["output_schema"], "a pause has no output", told);
            }
            if let Some(node) = timeout {
                let why = if is_pause {
                    "a pause takes as long as its `for` says"
                } else {
                    "how long to wait for a signal stands within `wait`"
                };
                told.add_new(node.at, Code::WorkKind, fields.cannot_have("timeout", why), "remove it");
            }
            fields.hide(&["timeout"]);
        }
        Some(Work::Child { .. }) => {
            fields.refuse(&["retry", "compensation"], "a child saga retries and is undone as one", told);
        }
        Some(Work::Action { .. }) | None => {}
    }
}

fn undo(fields: &mut Fields<'_>, told: &mut Diagnostics) -> Undo {
    let Some(node) = fields.take("compensation") else { return Undo::Unsaid };
    let plain = |action: &str| Compensation {
        action: action.to_owned(),
        retry: COMPENSATE_RETRY,
        timeout_ms: COMPENSATE_TIMEOUT_MS,
    };
    if let Kind::String(text) = &node.kind {
        if text == "none" {
            return Undo::Nothing;
        }
        return name(node, "the compensation", "_", told)
            .map_or(Undo::Broken, |it| Undo::By(plain(it), node.at));
    }
    let Some(mut fields) = Fields::of(node, "`compensation`", told) else { return Undo::Broken };
    let action = fields.need("action", "name what undoes the step", told);
    let action = action.and_then(|it| name(it, "the compensation", "_", told));
    let retry = retry(fields.take("retry"), COMPENSATE_RETRY, told);
    let timeout = fields.take("timeout").and_then(|it| duration_ms(it, "`timeout`", told));
    fields.finish(told);
    action.map_or(Undo::Broken, |action| {
        let timeout_ms = timeout.unwrap_or(COMPENSATE_TIMEOUT_MS);
        Undo::By(Compensation { action: action.to_owned(), retry, timeout_ms }, node.at)
    })
}

/// What undoes an `http` step: another call, made by the same worker.
fn undo_by_call(fields: &mut Fields<'_>, parts: &mut http::Parts, told: &mut Diagnostics) -> Undo {
    let Some(node) = fields.take("compensation") else { return Undo::Unsaid };
    if matches!(&node.kind, Kind::String(text) if text == "none") {
        return Undo::Nothing;
    }
    if let Kind::String(_) = &node.kind {
        let remedy = "write compensation: { http: { method: DELETE, url: … } }, or `none`";
        told.add(node.at, Code::WorkKind, "a call is undone by a call", remedy);
        return Undo::Broken;
    }
    let Some(mut fields) = Fields::of(node, "`compensation`", told) else { return Undo::Broken };
    let call = fields.need("http", "write the call that undoes the step", told);
    let call = call.and_then(|it| http::read_undo(it, parts, told));
    let retry = retry(fields.take("retry"), COMPENSATE_RETRY, told);
    let timeout = fields.take("timeout").and_then(|it| duration_ms(it, "`timeout`", told));
    fields.finish(told);
    call.map_or(Undo::Broken, |()| {
        let timeout_ms = timeout.unwrap_or(COMPENSATE_TIMEOUT_MS);
        Undo::By(Compensation { action: http::COMPENSATION.to_owned(), retry, timeout_ms }, node.at)
    })
}

fn retry(node: Option<&Node>, default: RetryPolicy, told: &mut Diagnostics) -> RetryPolicy {
    let Some(mut fields) = node.and_then(|node| Fields::of(node, "`retry`", told)) else { return default };
    let attempts = fields.take("attempts").and_then(|it| attempts(it, told));
    let initial = fields.take("initial").and_then(|it| duration_ms(it, "`initial`", told));
    let max_node = fields.take("max");
    let max = max_node.and_then(|it| duration_ms(it, "`max`", told));
    let budget = fields.take("budget").and_then(|it| duration_ms(it, "`budget`", told));
    let at = max_node.map_or(fields.at, |node| node.at);
    fields.finish(told);
    if let (Some(initial), Some(max)) = (initial, max)
        && max < initial
    {
        told.add(
            at,
            Code::OutOfBounds,
            "`max` is shorter than `initial`",
            "make the longest pause the longer one",
        );
    }
    let initial_ms = initial.unwrap_or_else(|| default.initial_ms.min(max.unwrap_or(i64::MAX)));
    RetryPolicy {
        attempts_max: attempts.unwrap_or(default.attempts_max),
        initial_ms,
        cap_ms: max.unwrap_or(default.cap_ms).max(initial_ms),
        budget_ms: budget.or(default.budget_ms),
    }
}

fn attempts(node: &Node, told: &mut Diagnostics) -> Option<u32> {
    match &node.kind {
        Kind::Number(number) if number.as_u64().is_some_and(|it| (1..=ATTEMPTS_MAX).contains(&it)) => {
            number.as_u64().and_then(|it| u32::try_from(it).ok())
        }
        _ => {
            let message = format!("`attempts` must be a whole number of 1 to {ATTEMPTS_MAX}");
            told.add(node.at, Code::OutOfBounds, message, "count the first attempt too: 1 never tries again");
            None
        }
    }
}

fn names<'n>(node: &'n Node, told: &mut Diagnostics) -> Vec<(&'n str, Position)> {
    match &node.kind {
        Kind::List(nodes) => nodes
            .iter()
            .filter_map(|node| Some((fields::text(node, "a step's name", told)?, node.at)))
            .collect(),
        _ => {
            let message = format!("`after` must be a list of steps, not {}", node.kind_name());
            told.add(node.at, Code::BadValue, message, "write [step, step]");
            Vec::new()
        }
    }
}

fn on_failure(node: &Node, what: &str, told: &mut Diagnostics) -> Option<(OnFailure, Position)> {
    match fields::text(node, what, told)? {
        "compensate" => Some((OnFailure::Compensate, node.at)),
        "park" => Some((OnFailure::Park, node.at)),
        _ => {
            told.add(
                node.at,
                Code::BadValue,
                format!("{what} must be `compensate` or `park`"),
                "choose one of them",
            );
            None
        }
    }
}
