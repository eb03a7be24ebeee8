//! `approval:` which operators' actions need a second person, above which amount.

use super::diagnostic::{Code, Diagnostics};
use super::fields::{Fields, text};
use super::source::{Kind, Node};

/// The actions that can need one.
const ACTIONS: [&str; 8] = [
    "retry",
    "retry_edited",
    "skip",
    "compensate",
    "resume_compensation",
    "mark_compensated",
    "abandon",
    "replay",
];

/// Which actions need a second person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The actions, such as `abandon`.
    pub actions: Vec<String>,
    /// Only above this amount; always when absent.
    pub above: Option<i64>,
}

impl Approval {
    /// Whether this action on a saga of this amount needs a second person. An unknown amount may be a large one.
    pub fn needed(&self, action: &str, amount: Option<i64>) -> bool {
        let large = match (self.above, amount) {
            (Some(above), Some(amount)) => amount > above,
            _ => true,
        };
        large && self.actions.iter().any(|it| it == action)
    }
}

pub(super) fn read(node: &Node, told: &mut Diagnostics) -> Option<Approval> {
    let mut fields = Fields::of(node, "`approval`", told)?;
    let actions_node = fields.need("actions", "write `actions: [skip, abandon]`", told);
    let above_node = fields.take("above");
    fields.finish(told);
    let mut actions = Vec::new();
    if let Some(node) = actions_node {
        let remedy = format!("list some of {}", ACTIONS.join(", "));
        match &node.kind {
            Kind::List(items) if !items.is_empty() => {
                for item in items {
                    let Some(word) = text(item, "an action", told) else { continue };
                    if ACTIONS.contains(&word) {
                        actions.push(word.to_owned());
                    } else {
                        let shown: String = word.chars().take(60).collect();
                        told.add(
                            item.at,
                            Code::BadValue,
                            format!("there is no action `{shown}`"),
                            remedy.clone(),
                        );
                    }
                }
            }
            _ => told.add(node.at, Code::BadValue, "`actions` must be a list of actions", remedy),
        }
    }
    let above = above_node.and_then(|node| {
        let above = match &node.kind {
            Kind::Number(number) => number.as_i64().filter(|it| *it >= 0),
            _ => None,
        };
        if above.is_none() {
            let remedy = "write a whole number in the currency's smallest unit";
            told.add(node.at, Code::BadValue, "`above` must be an amount", remedy);
        }
        above
    });
    Some(Approval { actions, above })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn about(text: &str) -> Result<Option<Approval>, Vec<String>> {
        let text =
            format!("saga: a\n{text}\nsteps:\n  one: {{ worker: w, action: go, compensation: none }}\n");
        super::super::load(&text)
            .map(|it| it.about.approval)
            .map_err(|told| told.into_iter().map(|it| it.message).collect())
    }

    #[test]
    fn it_is_read_with_its_mistakes() {
        let approval = about("approval: { actions: [skip, abandon], above: 100000 }").unwrap().unwrap();
        assert!(approval.needed("skip", Some(100_001)) && approval.needed("abandon", None));
        assert!(!approval.needed("skip", Some(100_000)) && !approval.needed("retry", None));
        assert!(about("approval: { actions: [retry] }").unwrap().unwrap().needed("retry", Some(1)));
        let told = about("approval: { actions: [dance], above: much }").unwrap_err();
        assert_eq!(told, ["there is no action `dance`", "`above` must be an amount"]);
        assert_eq!(about("approval: {}").unwrap_err(), ["`approval` has no `actions`"]);
    }
}
