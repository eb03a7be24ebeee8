//! `labels:` what operators find sagas by, beside the key: a region, a channel, a seller.
//!
//! Known when the saga starts, and never in its way: what has no value fit for a label is left out.

use serde_json::Value;

use super::diagnostic::{Code, Diagnostics};
use super::door::of_input;
use super::fields::{is_name, name_remedy, template};
use super::source::{Kind, Node};
use super::{Definition, Template, check};

/// The most labels of one definition.
pub const LABELS_MAX: usize = 8;
/// The longest value, in bytes.
pub const LABEL_BYTES_MAX: usize = 100;

impl Definition {
    /// The labels of a saga with this input, by name. One whose value is missing, empty, too long, neither a text nor a
    /// number nor a truth value, or has control characters in it is left out: no order is refused for a label.
    pub fn labels_of(&self, input: &Value) -> Vec<(&str, String)> {
        let value = |template: &Template| {
            let text = match of_input(Some(template), input).ok()?? {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return None,
            };
            let fits =
                !text.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
            fits.then_some(text)
        };
        let labels = self.about.labels.iter();
        labels.filter_map(|(name, template)| Some((name.as_str(), value(template)?))).collect()
    }
}

pub(super) fn read(node: &Node, told: &mut Diagnostics) -> Vec<(String, Template)> {
    let Kind::Map(members) = &node.kind else {
        let message = format!("`labels` must be a map, not {}", node.kind_name());
        told.add(node.at, Code::BadValue, message, "write `labels: { region: \"${input.region}\" }`");
        return Vec::new();
    };
    if members.len() > LABELS_MAX {
        let message = format!("the definition has more than {LABELS_MAX} labels");
        told.add(node.at, Code::OutOfBounds, message, "keep those that operators search by");
    }
    let mut labels = Vec::new();
    for (key, value) in members {
        if !is_name(&key.text, "_-") {
            let shown: String = key.text.chars().take(60).collect();
            told.add(key.at, Code::BadName, format!("the label `{shown}` is not a name"), name_remedy("_-"));
        }
        if matches!(value.kind, Kind::Map(_) | Kind::List(_) | Kind::Null) {
            let message = format!("the label `{}` must be a text, not {}", key.text, value.kind_name());
            told.add(
                value.at,
                Code::BadValue,
                message,
                "write a text or an expression such as ${input.region}",
            );
            continue;
        }
        let template = template(value, told);
        check::reads_only_input(&template, value, &format!("the label `{}`", key.text), told);
        labels.push((key.text.clone(), template));
    }
    labels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::super::load;

    fn with(labels: &str) -> String {
        format!("saga: a\nlabels: {labels}\nsteps:\n  one: {{ worker: w, action: go, compensation: none }}\n")
    }

    #[test]
    fn a_saga_has_those_that_have_a_value() {
        let definition = load(&with(
            "{ region: '${input.region}', channel: app, vip: '${input.vip}', table: 'no-${input.table}', big: 7 }",
        ))
        .unwrap();
        let all = definition.labels_of(&json!({ "region": " seoul ", "vip": true, "table": 4 }));
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all: Vec<_> = all.into_iter().map(|(name, value)| of(name, &value)).collect();
        let expected = [
            of("region", "seoul"),
            of("channel", "app"),
            of("vip", "true"),
            of("table", "no-4"),
            of("big", "7"),
        ];
        assert_eq!(all, expected);
        for unfit in [json!(null), json!(""), json!([1]), json!({}), json!("a\nb"), json!("x".repeat(101))] {
            let all = definition.labels_of(&json!({ "region": unfit }));
            assert_eq!(all, [("channel", "app".to_owned()), ("big", "7".to_owned())], "{unfit}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let told = |labels: &str| -> Vec<String> {
            load(&with(labels)).unwrap_err().into_iter().map(|it| it.message).collect()
        };
        assert_eq!(told("[region]"), ["`labels` must be a map, not a list"]);
        assert_eq!(told("{ Region: x }"), ["the label `Region` is not a name"]);
        assert_eq!(told("{ region: [x] }"), ["the label `region` must be a text, not a list"]);
        let many: Vec<String> = (0..9).map(|at| format!("l{at}: x")).collect();
        assert_eq!(told(&format!("{{ {} }}", many.join(", "))), ["the definition has more than 8 labels"]);
        assert_eq!(
            told("{ region: '${steps.one.output.x}' }"),
            ["the label `region` reads more than the saga's input"]
        );
    }
}
