//! The definitions' own routes: looked up at each request, so that publishing adds them at once.

use std::sync::Arc;

use saga_core::Definition;
use saga_protocol::Topics;

use super::problem::FaultAt;
use crate::auth::role::{Role, Roles};
use crate::store::definitions::{Definitions, Published};

pub use saga_core::definition::RESERVED;

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// A definition's trigger.
    Definition(Arc<Published>),
    /// Triggers, with these methods.
    OtherMethods(String),
    /// Nothing; these are the triggers.
    Nothing(Vec<String>),
}

/// Looks a trigger up.
pub fn find(definitions: &Definitions, method: &str, path: &str) -> Found {
    let all = definitions.all_active();
    let mut methods = Vec::new();
    for published in &all {
        let Some(trigger) = &published.definition.trigger else { continue };
        if trigger.path == path {
            if trigger.method.eq_ignore_ascii_case(method) {
                return Found::Definition(Arc::clone(published));
            }
            methods.push(trigger.method.to_ascii_uppercase());
        }
    }
    if methods.is_empty() {
        Found::Nothing(all.iter().filter_map(|it| spell(&it.definition)).collect())
    } else {
        Found::OtherMethods(methods.join(", "))
    }
}

/// A route as people write it: `POST /orders`.
pub fn spell(definition: &Definition) -> Option<String> {
    definition.trigger.as_ref().map(|it| format!("{} {}", it.method.to_ascii_uppercase(), it.path))
}

/// All that starts a definition beside its name: `POST /orders, topic shop.orders.placed`.
pub fn spell_all(definition: &Definition) -> Option<String> {
    let topic = definition.kafka.as_ref().map(|it| format!("topic {}", it.topic));
    let all: Vec<String> = spell(definition).into_iter().chain(topic).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Who may start a definition by its trigger: its role (`customer` when it names none), and who acts on sagas.
pub fn needed(definition: &Definition) -> Roles {
    let named = definition.trigger.as_ref().and_then(|it| it.role.as_deref());
    let role = named.map_or(Some(Role::Customer), |name| name.parse().ok());
    Roles::ACT.iter().chain(role).collect()
}

/// Whether a definition's trigger can be served beside the API and the other definitions.
///
/// # Errors
/// What it clashes with.
pub fn check(definitions: &Definitions, topics: &Topics, definition: &Definition) -> Result<(), FaultAt> {
    check_topic(definitions, topics, definition)?;
    let Some(trigger) = &definition.trigger else { return Ok(()) };
    let first = trigger.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) || first.is_empty() {
        let detail = format!("trigger: the path `{}` is the API's own", trigger.path);
        return Err(fault(detail, "take another first segment"));
    }
    if let Some(role) = trigger.role.as_deref().filter(|it| it.parse::<Role>().is_err()) {
        let detail = format!("trigger: there is no role `{role}`");
        return Err(fault(detail, "take customer, worker, viewer, operator, author or admin"));
    }
    let clash = definitions.all_active().into_iter().find(|it| {
        let other = &it.definition;
        other.name != definition.name
            && other.trigger.as_ref().is_some_and(|other| {
                other.path == trigger.path && other.method.eq_ignore_ascii_case(&trigger.method)
            })
    });
    match clash {
        Some(other) => {
            let (method, path) = (&trigger.method, &trigger.path);
            let detail = format!("trigger: `{method} {path}` starts `{}` already", other.definition.name);
            Err(fault(detail, "take another path, or publish that definition without its trigger first"))
        }
        None => Ok(()),
    }
}

fn check_topic(definitions: &Definitions, topics: &Topics, definition: &Definition) -> Result<(), FaultAt> {
    let Some(trigger) = &definition.kafka else { return Ok(()) };
    let topic = &trigger.topic;
    // What starts sagas from the engine's own records would never end.
    if topic.starts_with(&format!("{}.", topics.prefix())) {
        let detail = format!("trigger: the topic `{topic}` is the engine's own");
        return Err(fault(detail, "take a topic of the service that tells of it"));
    }
    let clash = definitions.all_active().into_iter().find(|it| {
        let other = &it.definition;
        other.name != definition.name && other.kafka.as_ref() == Some(trigger)
    });
    clash.map_or(Ok(()), |other| {
        let detail = format!("trigger: the topic `{topic}` starts `{}` already", other.definition.name);
        Err(fault(
            detail,
            "start this one as a child saga of that one, or publish that one without its trigger first",
        ))
    })
}

fn fault(detail: String, remedy: &str) -> FaultAt {
    FaultAt { detail, code: Some("T001".to_owned()), remedy: Some(remedy.to_owned()), ..FaultAt::default() }
}
