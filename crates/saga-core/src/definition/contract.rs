//! What a saga and its child sagas want of each other: the input that a child takes, the output that it yields, and the time
//! that it waits.
//!
//! Only what fails with every value that the schemas let in is told, as everywhere: what a child's schema says of the
//! values themselves is asked when it starts. It must not decide which version of a child is meant.

use serde_json::{Map, Value, json};

use super::diagnostic::Code;
use super::graph::Side;
use super::infer::Scene;
use super::template::Shape;
use super::types::{Kinds, Type};
use super::{Definition, Expression, Step, Work};

/// Why a child saga of `parent` can never start, never yields what `parent` takes from it, or waits beyond its deadline;
/// the first of `children` with a name is the one that is meant. Nothing is said of those that are not among them.
pub fn misfit(parent: &Definition, children: &[&Definition]) -> Option<String> {
    let child_of = |step: &Step| match &step.work {
        Work::Child { definition } => children.iter().copied().find(|it| it.name == *definition),
        _ => None,
    };
    let yielded: Vec<Option<Value>> =
        parent.steps.iter().map(|step| child_of(step).map(schema_of_output)).collect();
    let output = |name: &str| {
        let at = parent.steps.iter().position(|it| it.name.as_str() == name);
        let Some((step, yielded)) = at.and_then(|at| Some((parent.steps.get(at)?, yielded.get(at)?))) else {
            return Type::ANY;
        };
        let promised = step.output_schema.as_ref().map(|it| &it.schema);
        let one = promised.or(yielded.as_ref()).map_or(Type::ANY, Type::schema);
        if step.foreach.is_some() { Type::list_of(one) } else { one }
    };
    let never = |_: &str| false;
    let scene = Scene {
        input: Type::schema(&parent.input_schema),
        output: &output,
        may_have_none: &never,
        item: Type::ANY,
        reader: "the definition",
        facts: &[],
    };
    for (step, yielded) in parent.steps.iter().zip(&yielded) {
        let name = &step.name;
        let item = step.foreach.as_ref().and_then(|it| scene.infer(it, &mut Vec::new()).element(None));
        let scene = scene.of(name.as_str(), &never, item.unwrap_or(Type::ANY), &[]);
        if let Some(child) = child_of(step)
            && let Err(why) = fits(&scene, &step.input.shape(), &Type::schema(&child.input_schema), "input")
        {
            return Some(format!("`{name}` can never start `{}`: {why}", child.name));
        }
        if let (Some(promised), Some(yielded)) = (&step.output_schema, yielded)
            && let Some(lacks) = lacking(&Type::schema(&promised.schema), &Type::schema(yielded))
        {
            return Some(format!(
                "`{name}` never fits its output_schema: its child saga yields no `{lacks}`"
            ));
        }
    }
    if let Some(late) = too_late(parent, &child_of) {
        return Some(late);
    }
    // What workers yield is no matter here, nor is what a step promises for its child.
    let of_child = |name: &str| {
        let at = parent.steps.iter().position(|it| it.name.as_str() == name);
        let found = at.and_then(|at| Some((parent.steps.get(at)?, yielded.get(at)?.as_ref()?)));
        found.map_or(Type::ANY, |(step, yielded)| {
            let one = Type::schema(yielded);
            if step.foreach.is_some() { Type::list_of(one) } else { one }
        })
    };
    let scene = Scene { input: Type::ANY, output: &of_child, ..scene };
    let templates = parent.steps.iter().map(|it| (it.name.as_str(), it.when.as_ref(), &it.input));
    for (reader, when, template) in templates.chain(parent.output.as_ref().map(|it| ("output", None, it))) {
        // Who asks first whether it is there is ready for a child that does not yield it.
        let asks = |it: &Expression| ["has(", "' in ", "\" in "].iter().any(|how| it.text().contains(how));
        let read = template.expressions().into_iter().filter(|it| !asks(it) && !when.is_some_and(asks));
        let mut faults = Vec::new();
        read.for_each(|it| drop(scene.infer(it, &mut faults)));
        if let Some(fault) = faults.iter().find(|fault| fault.code == Code::NoSuchValue) {
            return Some(format!("`{reader}` reads what a child saga never yields: {}", fault.message));
        }
    }
    None
}

/// A child saga that still waits when its parent's deadline passes, in every run in which it completes.
fn too_late<'c>(parent: &Definition, child_of: &impl Fn(&Step) -> Option<&'c Definition>) -> Option<String> {
    let deadline_ms = parent.deadline_ms?;
    let done = done_ms(parent, |step| child_of(step).map_or(0, shortest_ms));
    let pauses = done_ms(parent, |_| 0);
    parent.steps().find_map(|(ix, step)| {
        // A pivot that was sent has met its deadline; what is late before it begins is not its own fault.
        let late = parent.side(ix) == Side::Before
            && start_ms(step, &done) < deadline_ms
            && done.get(usize::from(ix.0)) >= Some(&deadline_ms);
        let name = &step.name;
        match (&step.work, child_of(step)) {
            (_, Some(child)) if late => Some(format!(
                "`{name}` is never done before the deadline: its child saga `{}` still waits",
                child.name
            )),
            // Pauses without children are the exploration's.
            (Work::Sleep { .. }, _) if late && pauses.get(usize::from(ix.0)) < Some(&deadline_ms) => Some(
                format!("`{name}` is never done before the deadline: the child sagas before it wait as well"),
            ),
            _ => None,
        }
    })
}

/// How long a saga takes at least, in ms: its waits, for nothing else takes time for certain.
fn shortest_ms(definition: &Definition) -> i64 {
    done_ms(definition, |_| 0).into_iter().max().unwrap_or(0)
}

fn start_ms(step: &Step, done: &[i64]) -> i64 {
    step.after.iter().filter_map(|it| done.get(usize::from(it.0))).max().copied().unwrap_or(0)
}

/// After how long each step is done at the soonest, in ms.
fn done_ms(definition: &Definition, of_child: impl Fn(&Step) -> i64) -> Vec<i64> {
    let mut done = vec![0_i64; definition.steps.len()];
    for ix in definition.topological() {
        let Some(step) = definition.step(ix) else { continue };
        let certain = step.when.is_none() && step.foreach.is_none() && !step.optional;
        let own = match step.work {
            Work::Sleep { for_ms } if certain => for_ms,
            Work::Child { .. } if certain => of_child(step),
            _ => 0,
        };
        let start = start_ms(step, &done);
        if let Some(done) = done.get_mut(usize::from(ix.0)) {
            *done = start.saturating_add(own);
        }
    }
    done
}

/// What is known of a child's output without a run of it: its members.
fn schema_of_output(child: &Definition) -> Value {
    let Some(output) = &child.output else { return json!({ "type": "null" }) };
    let Some(members) = members(&output.shape())
        .map(|all| all.into_iter().map(|(name, _)| (name.to_owned(), json!({}))).collect::<Map<_, _>>())
    else {
        return json!({});
    };
    let required: Vec<&String> = members.keys().collect();
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": members })
}

/// A member that is asked for and that the other can never have.
fn lacking<'s>(wanted: &Type<'s>, found: &Type<'_>) -> Option<&'s str> {
    // What is asked of objects is asked of nothing else.
    if found.kinds() != Kinds::OBJECT && wanted.kinds().meets(found.kinds()) {
        return None;
    }
    wanted
        .required()
        .into_iter()
        .find(|name| !found.kinds().meets(Kinds::OBJECT) || found.member(name).is_none())
}

/// Whether what stands in a template can be what a schema lets in.
fn fits(scene: &Scene<'_, '_>, shape: &Shape<'_>, wanted: &Type<'_>, place: &str) -> Result<(), String> {
    let kinds = match shape {
        Shape::Literal(value) => Kinds::of(value),
        Shape::Whole(expression) => scene.infer(expression, &mut Vec::new()).kinds(),
        Shape::Text => Kinds::TEXT,
        Shape::List(_) => Kinds::LIST,
        Shape::Object(_) => Kinds::OBJECT,
    };
    if !kinds.by_value().meets(wanted.kinds().by_value()) {
        return Err(format!("`{place}` is {kinds}, and it takes {}", wanted.kinds()));
    }
    if let Some(members) = members(shape) {
        for (name, value) in &members {
            let Some(its) = wanted.member(name) else {
                return Err(format!("it takes no `{place}.{name}`"));
            };
            fits(scene, value, &its, &format!("{place}.{name}"))?;
        }
        let lacks =
            wanted.required().into_iter().find(|asked| !members.iter().any(|(name, _)| name == asked));
        if let Some(lacks) = lacks {
            return Err(format!("it takes no `{place}` without `{lacks}`"));
        }
    } else if let Shape::Whole(expression) = shape {
        let found = scene.infer(expression, &mut Vec::new());
        let never = |name: &&str| found.kinds() == Kinds::OBJECT && found.member(name).is_none();
        if let Some(lacks) = wanted.required().into_iter().find(never) {
            return Err(format!("it takes no `{place}` without `{lacks}`"));
        }
    } else if let Some(elements) = elements(shape) {
        for (at, element) in elements.iter().enumerate() {
            let Some(its) = wanted.element(Some(at)) else {
                return Err(format!("it takes no `{place}[{at}]`"));
            };
            fits(scene, element, &its, &format!("{place}[{at}]"))?;
        }
    }
    Ok(())
}

/// The elements of what is certainly a list.
fn elements<'t>(shape: &Shape<'t>) -> Option<Vec<Shape<'t>>> {
    match shape {
        Shape::List(elements) => Some(elements.clone()),
        Shape::Literal(Value::Array(elements)) => Some(elements.iter().map(Shape::Literal).collect()),
        _ => None,
    }
}

/// The members of what is certainly an object.
fn members<'t>(shape: &Shape<'t>) -> Option<Vec<(&'t str, Shape<'t>)>> {
    match shape {
        Shape::Object(members) => Some(members.clone()),
        Shape::Literal(Value::Object(members)) => {
            Some(members.iter().map(|(name, value)| (name.as_str(), Shape::Literal(value))).collect())
        }
        _ => None,
    }
}
