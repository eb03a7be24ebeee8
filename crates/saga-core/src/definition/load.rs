//! From text to [`Definition`].
//!
//! Owns the top level of the language and the connection of the steps to a graph. All mistakes are told at once,
//! so that reading goes on behind each; what needs two steps to be wrong is in `super::check`.

use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check;
use super::connect::{connect, names_in};
use super::diagnostic::{Code, Diagnostics};
use super::door::OutputSchema;
use super::draft::{self, Draft, Undo};
use super::fields::{Fields, duration_ms, is_name, name, template, text};
use super::source::{self, Kind, Node};
use super::typed;
use super::{About, Definition, HttpTrigger, KafkaTrigger, OnFailure, Step, StepIx, Turn, Version, Work};

pub use super::diagnostic::Diagnostic;

/// The most steps of one definition, notices included.
pub const STEPS_MAX: usize = 200;

/// First segments of paths that are the API's own.
pub const RESERVED: [&str; 14] = [
    "ops",
    "sagas",
    "definitions",
    "workers",
    "healthz",
    "readyz",
    "metrics",
    "openapi.json",
    "problems",
    "events",
    "ui",
    "api",
    "auth",
    "authoring",
];

/// Who can be let in by a trigger.
pub const ROLES: [&str; 6] = ["customer", "worker", "viewer", "operator", "author", "admin"];

/// Compiles a definition.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub fn load(text: &str) -> Result<Definition, Vec<Diagnostic>> {
    let mut told = Diagnostics::default();
    let definition = source::parse(text, &mut told).and_then(|root| definition(&root, &mut told));
    told.into_result()?;
    // Without a definition there was a mistake; should none have been told, say that much.
    definition.ok_or_else(|| {
        let mut told = Diagnostics::default();
        told.add(Default::default(), Code::Yaml, "there is no definition here", "write one");
        told.into_result().err().unwrap_or_default()
    })
}

/// Compiles a definition that was published, maybe by an earlier release: what newer ones find fault with in its
/// expressions keeps no saga of it waiting.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub fn load_published(text: &str) -> Result<Definition, Vec<Diagnostic>> {
    let mut told = Diagnostics::default();
    let definition = source::parse(text, &mut told).and_then(|root| definition(&root, &mut told));
    let grave = !told.only(&[
        // Once, an optional step did not have to say what undoes it.
        Code::NotUndoable,
        Code::NeverApplies,
        Code::MaybeNoOutput,
        Code::NoSuchValue,
        Code::BadOperand,
        Code::WrongKind,
        Code::Personal,
        Code::MayBeMissing,
    ]);
    definition.filter(|_| !grave).ok_or_else(|| told.into_result().err().unwrap_or_default())
}

/// Compiles a definition that is right, or wrong only in the company of its steps: what can still be explored, to show
/// by a story why it is wrong.
pub fn load_to_explore(text: &str) -> Option<Definition> {
    let mut told = Diagnostics::default();
    let root = source::parse(text, &mut told)?;
    let definition = definition(&root, &mut told)?;
    told.only(&[
        Code::BadPivot,
        Code::BesidePivot,
        Code::NotUndoable,
        Code::NeverCompensated,
        Code::NeverApplies,
        Code::MaybeNoOutput,
        Code::NoSuchValue,
        Code::BadOperand,
        Code::WrongKind,
        Code::Personal,
        Code::MayBeMissing,
    ])
    .then_some(definition)
}

fn definition(root: &Node, told: &mut Diagnostics) -> Option<Definition> {
    let mut fields = Fields::of(root, "the definition", told)?;
    let name = fields.need("saga", "name the saga: `saga: my-saga`", told);
    let name = name.and_then(|it| name_of(it, told));
    let description =
        fields.take("description").and_then(|it| text(it, "`description`", told)).map(str::to_owned);
    fields.later(&["limits"], told);
    let (trigger, kafka) = fields.take("trigger").map_or((None, None), |it| triggers(it, told));
    let key_node = fields.take("key");
    let deadline_ms = fields.take("deadline").and_then(|it| duration_ms(it, "`deadline`", told));
    let signal_ttl_node = fields.take("signal_ttl");
    let signal_ttl_ms = signal_ttl_node.and_then(|it| duration_ms(it, "`signal_ttl`", told));
    let input_schema =
        fields.take("input").map_or_else(|| Some(json!({"type": "object"})), |it| input_schema(it, told));
    let mut drafts = Vec::new();
    let Some(steps_node) = fields.need("steps", "a saga has at least one step", told) else {
        fields.finish(told);
        return None;
    };
    read_steps(steps_node, "`steps`", Turn::Graph, &mut drafts, told);
    for (key, turn) in [("on_compensated", Turn::Compensated), ("on_parked", Turn::Parked)] {
        if let Some(node) = fields.take(key) {
            read_steps(node, &format!("`{key}`"), turn, &mut drafts, told);
        }
    }
    let output_node = fields.take("output");
    let (amount_node, currency_node) = (fields.take("amount"), fields.take("currency"));
    let owner = fields.take("owner").and_then(|it| text(it, "`owner`", told)).map(str::to_owned);
    let runbook = fields.take("runbook").and_then(|it| text(it, "`runbook`", told)).map(str::to_owned);
    let approval = fields.take("approval").and_then(|it| super::approval::read(it, told));
    let labels_node = fields.take("labels");
    let labels = labels_node.map(|it| super::labels::read(it, told)).unwrap_or_default();
    fields.finish(told);

    let mut of_input = |node: Option<&Node>, what: &str| {
        let template = template(node?, told);
        check::reads_only_input(&template, node?, what, told);
        Some(template)
    };
    let key = of_input(key_node, "`key`");
    let about = About {
        amount: of_input(amount_node, "`amount`"),
        currency: of_input(currency_node, "`currency`"),
        owner,
        runbook,
        approval,
        labels,
    };
    let output = output_node.map(|it| template(it, told));
    if drafts.len() > STEPS_MAX {
        let message = format!("the definition has more than {STEPS_MAX} steps");
        told.add(root.at, Code::OutOfBounds, message, "move some of them into child sagas");
        return None;
    }
    let (graph, whole) = connect(&mut drafts, &names_in(steps_node), told)?;
    let pivot = check::pivot(&drafts, told);
    let version = Version(hex(&Sha256::digest(root.canonical().as_bytes())));
    let name = name.unwrap_or_default();
    let broken = drafts.iter().any(|draft| draft.work.is_none());
    let steps = drafts.iter().map(|draft| step(draft, &graph, &drafts)).collect();
    let definition = Definition {
        name,
        version,
        description,
        trigger,
        kafka,
        key,
        deadline_ms,
        signal_ttl_ms,
        // One that is none was told already.
        input_schema: input_schema.unwrap_or(Value::Bool(true)),
        steps,
        graph,
        pivot,
        output,
        about,
    };
    check::early(&definition, signal_ttl_node.map(|it| it.at), told);
    check::company(&definition, &drafts, whole, told);
    if let (Some(output), Some(node)) = (&definition.output, output_node) {
        check::output_reads(&definition, output, node, told);
    }
    let about = &definition.about;
    let top = typed::Top {
        input_schema: &definition.input_schema,
        key: definition.key.as_ref().zip(key_node),
        amount: about.amount.as_ref().zip(amount_node),
        currency: about.currency.as_ref().zip(currency_node),
        output: definition.output.as_ref().zip(output_node),
        labels: labels_node,
        about,
    };
    typed::check(&drafts, &top, told);
    (!broken).then_some(definition)
}

fn name_of(node: &Node, told: &mut Diagnostics) -> Option<String> {
    name(node, "the saga's name", "-", told).map(str::to_owned)
}

fn triggers(node: &Node, told: &mut Diagnostics) -> (Option<HttpTrigger>, Option<KafkaTrigger>) {
    let Some(mut fields) = Fields::of(node, "`trigger`", told) else { return (None, None) };
    let (http, kafka) = (fields.take("http"), fields.take("kafka"));
    fields.finish(told);
    (http.and_then(|it| http_trigger(it, told)), kafka.and_then(|it| kafka_trigger(it, told)))
}

fn kafka_trigger(node: &Node, told: &mut Diagnostics) -> Option<KafkaTrigger> {
    let mut fields = Fields::of(node, "the Kafka trigger", told)?;
    let topic_node = fields.need("topic", "name the topic: { topic: shop.orders.placed }", told);
    let topic = topic_node.and_then(|it| text(it, "`topic`", told));
    fields.finish(told);
    let (node, topic) = (topic_node?, topic?);
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if topic.is_empty() || topic.len() > 200 || !topic.chars().all(good) || matches!(topic, "." | "..") {
        let remedy = "use letters, digits, `.`, `_` and `-`, at most 200";
        told.add(node.at, Code::BadName, "this is not the name of a topic", remedy);
        return None;
    }
    Some(KafkaTrigger { topic: topic.to_owned() })
}

fn http_trigger(node: &Node, told: &mut Diagnostics) -> Option<HttpTrigger> {
    let mut fields = Fields::of(node, "the HTTP trigger", told)?;
    let method_node = fields.need("method", "write `method: POST`", told);
    let method = method_node.and_then(|it| text(it, "`method`", told));
    if let (Some(node), Some(method)) = (method_node, method)
        && !["POST", "PUT"].contains(&method)
    {
        told.add(
            node.at,
            Code::BadValue,
            "`method` must be POST or PUT",
            "a trigger starts something: use POST",
        );
    }
    let path_node = fields.need("path", "write a path such as /orders", told);
    let path = path_node.and_then(|it| text(it, "`path`", told));
    if let (Some(node), Some(path)) = (path_node, path) {
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !path.starts_with('/')
            || path.len() < 2
            || path.len() > 200
            || !path.chars().all(good)
            || path.contains("//")
        {
            told.add(node.at, Code::BadValue, "`path` must be a plain path", "write one such as /orders");
        } else if path.split('/').nth(1).is_some_and(|first| RESERVED.contains(&first)) {
            let message = format!("the path `{path}` is the API's own");
            told.add_new(node.at, Code::BadValue, message, "take another first segment");
        }
    }
    let role = fields.take("role").and_then(|it| {
        let role = text(it, "`role`", told)?;
        if !is_name(role, "_-") {
            told.add(it.at, Code::BadName, "the role is not a name", super::fields::name_remedy("_-"));
        } else if !ROLES.contains(&role) {
            let near = super::fields::near(&ROLES, role);
            let remedy = near.map_or_else(
                || "take customer, worker, viewer, operator, author or admin".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            told.add_new(it.at, Code::BadValue, format!("there is no role `{role}`"), remedy);
        }
        Some(role.to_owned())
    });
    fields.finish(told);
    Some(HttpTrigger { method: method?.to_owned(), path: path?.to_owned(), role })
}

/// The input's schema, if it is one.
fn input_schema(node: &Node, told: &mut Diagnostics) -> Option<Value> {
    let schema = schema(node, "`input`", told)?;
    for pointer in super::fresh::in_vain(&schema) {
        told.add(
            node.at_pointer(&pointer).at,
            Code::NeverApplies,
            "`fresh` is not seen here: a replay asks for members of objects only",
            "mark the member of `properties` that it is in, from the top of `input`",
        );
    }
    Some(schema)
}

/// A JSON Schema, if it is one.
pub(super) fn schema(node: &Node, what: &str, told: &mut Diagnostics) -> Option<Value> {
    let schema = node.to_value();
    if !matches!(node.kind, Kind::Map(_)) {
        told.add(
            node.at,
            Code::Schema,
            format!("{what} must be a JSON Schema, not {}", node.kind_name()),
            "write a map",
        );
        return None;
    }
    super::keywords::misspelt(node, told);
    if let Err(error) = super::door::compile(&schema) {
        let at = node.at_pointer(&error.pointer).at;
        told.add(
            at,
            Code::Schema,
            format!("{what} is not a JSON Schema: {}", error.reason),
            "correct the schema (draft 2020-12)",
        );
        return None;
    }
    Some(schema)
}

fn read_steps<'n>(
    node: &'n Node,
    what: &str,
    turn: Turn,
    drafts: &mut Vec<Draft<'n>>,
    told: &mut Diagnostics,
) {
    let Kind::Map(members) = &node.kind else {
        let message = format!("{what} must be a map of steps, not {}", node.kind_name());
        told.add(node.at, Code::BadValue, message, "write `name:` and the step below it");
        return;
    };
    if members.is_empty() && turn == Turn::Graph {
        told.add(node.at, Code::MissingKey, "there are no steps", "a saga has at least one step");
    }
    for (key, step) in members {
        let Some(draft) = draft::read(key, step, turn, told) else { continue };
        if drafts.iter().any(|other| other.name == draft.name) {
            let message = format!("there are two steps `{}`", draft.name);
            told.add(
                key.at,
                Code::BadName,
                message,
                "names are unique, those of on_compensated and on_parked included",
            );
            continue;
        }
        drafts.push(draft);
    }
}

fn step(draft: &Draft<'_>, graph: &DiGraph<StepIx, ()>, drafts: &[Draft<'_>]) -> Step {
    let place = |name: &str| {
        let at = drafts.iter().position(|other| other.turn == Turn::Graph && other.name.as_str() == name)?;
        u16::try_from(at).ok().map(StepIx)
    };
    let mut dependents: Vec<StepIx> = match (draft.turn, place(draft.name.as_str())) {
        (Turn::Graph, Some(own)) => {
            let own = NodeIndex::new(usize::from(own.0));
            graph.neighbors(own).filter_map(|node| graph.node_weight(node).copied()).collect()
        }
        _ => Vec::new(),
    };
    dependents.sort_unstable();
    let mut after: Vec<StepIx> = draft.after.iter().filter_map(|(name, _)| place(name)).collect();
    after.sort_unstable();
    let pivot = draft.pivot.is_some();
    Step {
        name: draft.name.clone(),
        turn: draft.turn,
        after,
        dependents,
        when: draft.when.as_ref().map(|(it, _)| it.clone()),
        foreach: draft.foreach.as_ref().map(|(it, _)| it.clone()),
        work: draft.work.clone().unwrap_or(Work::Sleep { for_ms: 1 }),
        input: draft.input.clone(),
        output_schema: draft.output_schema.clone().and_then(OutputSchema::new),
        compensation: match &draft.undo {
            Undo::By(compensation, _) => Some(compensation.clone()),
            Undo::Unsaid | Undo::Nothing | Undo::Broken => None,
        },
        harmless: matches!(draft.undo, Undo::Nothing),
        retry: draft.retry.clone(),
        timeout_ms: draft.timeout_ms,
        pivot,
        optional: draft.optional,
        on_rejected: draft.on_rejected.map_or(OnFailure::Compensate, |(it, _)| it),
        // Nobody knows on which side of an exhausted pivot the saga is.
        on_exhausted: if pivot {
            OnFailure::Park
        } else {
            draft.on_exhausted.map_or(OnFailure::Compensate, |(it, _)| it)
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
