//! Acting on one saga: from what an operator wants to what came of it.
//!
//! Owns the way of an action: whether it needs a second person, the mailbox, the owner's verdict. It decides nothing
//! about the saga, and what it reports is what happened, not what was asked for.

use std::time::Duration;

use saga_core::event::Operator;
use saga_core::{Event, OperatorAction, What};
use saga_protocol::SagaId;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::words;
use crate::clock;
use crate::engine::Engine;
use crate::store::StoreError;
use crate::store::audit::{Actor, Deed};
use crate::store::mail::{Asked, Delivery};

/// How long an action's result is waited for.
const RESULT_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked for, growing from the first to the second.
const RESULT_POLL_MS: (u64, u64) = (5, 200);

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The saga.
    pub saga: SagaId,
    /// Makes a repetition harmless.
    pub id: Uuid,
    /// The action.
    pub operator: Operator,
    /// Its payload.
    pub payload: Option<Value>,
    /// As it was asked for, for who has to approve it.
    pub request: Value,
    /// Where the second person is to be found, if one is needed.
    pub second: Second,
}

/// The second person of an action that needs two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Second {
    /// Is asked: the action is kept until they decide.
    Asked,
    /// Decides elsewhere, and has not yet: nothing is kept.
    Missing,
    /// This one has approved it.
    Is(String),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was taken in, and changed the saga.
    Applied,
    /// It was taken in, and nothing was to be done.
    Ignored(String),
    /// It was refused; the saga is unchanged.
    Refused(String),
    /// It is kept, and was not taken in within some seconds.
    Accepted,
    /// It waits for a second person.
    AwaitingApproval,
    /// There is no such saga.
    NoSaga,
    /// The id was used for something else.
    Reused,
}

/// Carries it out, and waits some seconds for what the saga's owner makes of it.
///
/// # Errors
/// When the database fails; repeating with the same id tells what happened.
pub async fn act(engine: &Engine, wanted: Wanted, actor: &Actor) -> Result<Came, StoreError> {
    let id = wanted.id;
    match ask(engine, wanted, actor).await? {
        Came::Accepted => result(engine, id).await,
        came => Ok(came),
    }
}

/// The same, without waiting: [`Came::Accepted`] means that it is kept.
///
/// # Errors
/// When the database fails; repeating with the same id tells what happened.
pub async fn ask(engine: &Engine, wanted: Wanted, actor: &Actor) -> Result<Came, StoreError> {
    let Wanted { saga, id, mut operator, payload, request, second } = wanted;
    let Some(whole) = engine.store.whole(saga).await? else { return Ok(Came::NoSaga) };
    let published = engine.definitions.get(&engine.store, whole.summary.definition_id).await?;
    let (word, _) = words::action(&operator.action);
    let approval = published.as_ref().and_then(|it| it.definition.about.approval.as_ref());
    // An edited input may be about any amount.
    let edited = matches!(operator.action, OperatorAction::RetryEdited { .. });
    let amount = whole.summary.amount.filter(|_| !edited);
    let needs_approval = approval.is_some_and(|it| it.needed(word, amount));
    let (who, why) = (operator.who.clone(), operator.why.clone());
    let before = json!({
        "status": whole.summary.status,
        "revision": whole.state.as_ref().map_or(0, |state| state.revision),
    });
    match &second {
        Second::Missing if needs_approval => return Ok(Came::AwaitingApproval),
        Second::Is(by) if needs_approval => operator.who = approved(&who, by),
        _ => {}
    }
    let event = Event::new(clock::now(), rand::random(), What::Operator(operator));
    let asked = Asked { id, saga, event: &event, payload: payload.as_ref() };
    if needs_approval && second == Second::Asked {
        let state = engine.store.ask_approval(asked, &request, actor, &who, &why).await?;
        return Ok(match state.as_deref() {
            None => Came::Reused,
            Some("open") => Came::AwaitingApproval,
            Some("approved") => Came::Accepted,
            Some(state) => Came::Refused(format!("its approval was {state}; ask anew with another key")),
        });
    }
    let what = format!("saga.{word}");
    let deed =
        Deed { why: Some(&why), before: Some(before), mail: Some(id), ..Deed::new(&what, saga.to_string()) };
    let (delivery, shard) = engine.store.ask(asked, actor, deed).await?;
    match delivery {
        Delivery::NoSaga => return Ok(Came::NoSaga),
        Delivery::Reused => return Ok(Came::Reused),
        Delivery::Accepted | Delivery::Duplicate => engine.nudge(saga, shard, id).await,
    }
    Ok(Came::Accepted)
}

/// Who acts when two did, as the history names them.
pub fn approved(who: &str, by: &str) -> String {
    format!("{who}, approved by {by}")
}

/// Waits for what the owner makes of a piece of mail, within a bound.
///
/// # Errors
/// When the database fails.
pub async fn result(engine: &Engine, id: Uuid) -> Result<Came, StoreError> {
    let until = Instant::now() + RESULT_WAIT;
    let (mut pause_ms, longest_ms) = RESULT_POLL_MS;
    loop {
        if let Some(result) = engine.store.mail_result(id).await? {
            return Ok(came(&result));
        }
        if Instant::now() >= until {
            return Ok(Came::Accepted);
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(longest_ms);
    }
}

/// What the owner's verdict means.
pub fn came(result: &str) -> Came {
    match result.split_once(": ").unwrap_or((result, "")) {
        ("refused", reason) => Came::Refused(reason.to_owned()),
        ("ignored", reason) => Came::Ignored(reason.to_owned()),
        _ => Came::Applied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_owner_says_is_understood() {
        assert_eq!(came("applied"), Came::Applied);
        assert_eq!(came("refused: it has moved on: twice"), Came::Refused("it has moved on: twice".into()));
        assert_eq!(came("ignored: nothing to do"), Came::Ignored("nothing to do".into()));
    }
}
