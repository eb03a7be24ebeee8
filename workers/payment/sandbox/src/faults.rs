//! What goes wrong, on demand: rules that a test sets, and payment keys that carry their own fate.
//!
//! It must not touch the books; it only says what is to happen to a request.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::book::Operation;
use crate::payment::Method;

/// Payment keys with this prefix need no front-end: their session is made when they are confirmed.
/// A word of [`FATES`] anywhere behind it decides what happens.
pub const MAGIC_PREFIX: &str = "tviva_";

/// The words that a magic payment key may carry, and what each does.
pub const FATES: [(&str, &str); 13] = [
    ("reject_card", "confirm is refused: REJECT_CARD_COMPANY"),
    ("reject_limit", "confirm is refused: REJECT_CARD_PAYMENT"),
    ("reject_account", "confirm is refused: REJECT_ACCOUNT_PAYMENT"),
    ("expired", "confirm finds the session expired: NOT_FOUND_PAYMENT_SESSION"),
    ("lost_answer", "the first confirm takes effect, and the connection closes without an answer"),
    ("lost_request", "the first confirm takes no effect, and the connection closes without an answer"),
    ("hang_answer", "the first confirm takes effect and is never answered"),
    ("server_error", "the first confirm takes no effect and answers 500"),
    ("provider_error", "the first confirm takes no effect and answers 400 PROVIDER_ERROR"),
    ("slow", "confirm takes three seconds"),
    ("refund_refused", "confirm succeeds; every cancel is refused: NOT_CANCELABLE_PAYMENT"),
    ("refund_flaky", "confirm succeeds; the first cancel answers 500"),
    ("virtual", "a virtual account: confirm answers WAITING_FOR_DEPOSIT"),
];

/// What is to happen to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Wait before anything takes effect, in ms.
    pub delay_ms: u64,
    /// Wait before anything takes effect until `POST /sandbox/release`.
    pub hold: bool,
    /// Wait between the effect and the answer, in ms.
    pub delay_after_ms: u64,
    /// Give no answer.
    pub lost: Option<Lost>,
    /// With `lost`: keep the connection open in silence, instead of closing it.
    pub hang: bool,
    /// Answer with this code.
    pub error: Option<String>,
    /// With `error`: under this HTTP status instead of the code's own.
    pub status: Option<u16>,
    /// With `error`: take effect nevertheless.
    pub takes_effect: bool,
    /// Deliver the webhook of this change twice.
    pub webhook_twice: bool,
}

/// Which half of the exchange is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The request: nothing takes effect.
    Request,
    /// The answer: the effect stands.
    Answer,
}

/// A fault and the requests that it is meant for. What is absent matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Only this payment.
    #[serde(default)]
    pub payment_key: Option<String>,
    /// Only this order.
    #[serde(default)]
    pub order_id: Option<String>,
    /// Only this operation.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// Only for so many requests; for ever when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens.
    pub fault: Fault,
}

/// The rules that are set, and the tries of magic keys.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    tried: HashMap<(Operation, String), u32>,
}

/// The request that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) payment_key: Option<&'a str>,
    pub(crate) order_id: Option<&'a str>,
}

impl Faults {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Removes the rules that hold requests.
    pub(crate) fn clear_holds(&mut self) {
        self.rules.retain(|rule| !rule.fault.hold);
    }

    /// Takes what is to happen to this request: the oldest rule that matches, else its key's fate.
    pub(crate) fn take(&mut self, subject: Subject<'_>) -> Fault {
        if let Some(at) = self.rules.iter().position(|rule| rule.matches(subject)) {
            let fault = self.rules[at].fault.clone();
            if let Some(times) = &mut self.rules[at].times {
                *times -= 1;
                if *times == 0 {
                    self.rules.remove(at);
                }
            }
            return fault;
        }
        let Some(key) = subject.payment_key else { return Fault::default() };
        let fate = words_of(key).find_map(|word| Fate::of(word, subject.operation));
        match fate {
            None => Fault::default(),
            Some(Fate::Always(fault)) => fault,
            Some(Fate::First(fault)) => {
                let tried = self.tried.entry((subject.operation, key.to_owned())).or_default();
                *tried += 1;
                if *tried == 1 { fault } else { Fault::default() }
            }
        }
    }
}

impl Rule {
    fn matches(&self, subject: Subject<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        self.times != Some(0)
            && self.operation.is_none_or(|it| it == subject.operation)
            && same(&self.payment_key, subject.payment_key)
            && same(&self.order_id, subject.order_id)
    }
}

enum Fate {
    First(Fault),
    Always(Fault),
}

impl Fate {
    fn of(word: &str, operation: Operation) -> Option<Self> {
        let error = |code: &str| Fault { error: Some(code.to_owned()), ..Fault::default() };
        let lost = |lost| Fault { lost: Some(lost), ..Fault::default() };
        Some(match (operation, word) {
            (Operation::Confirm, "lost_answer") => Self::First(lost(Lost::Answer)),
            (Operation::Confirm, "lost_request") => Self::First(lost(Lost::Request)),
            (Operation::Confirm, "hang_answer") => Self::First(Fault { hang: true, ..lost(Lost::Answer) }),
            (Operation::Confirm, "server_error") => Self::First(error("FAILED_INTERNAL_SYSTEM_PROCESSING")),
            (Operation::Confirm, "provider_error") => Self::First(error("PROVIDER_ERROR")),
            (Operation::Confirm, "slow") => Self::Always(Fault { delay_ms: 3_000, ..Fault::default() }),
            (Operation::Cancel, "refund_refused") => Self::Always(error("NOT_CANCELABLE_PAYMENT")),
            (Operation::Cancel, "refund_flaky") => Self::First(error("FAILED_REFUND_PROCESS")),
            _ => return None,
        })
    }
}

/// The code with which the vendor refuses to confirm a magic key.
pub(crate) fn refusal(payment_key: &str) -> Option<&'static str> {
    words_of(payment_key).find_map(|word| match word {
        "reject_card" => Some("REJECT_CARD_COMPANY"),
        "reject_limit" => Some("REJECT_CARD_PAYMENT"),
        "reject_account" => Some("REJECT_ACCOUNT_PAYMENT"),
        "expired" => Some("NOT_FOUND_PAYMENT_SESSION"),
        _ => None,
    })
}

/// How a magic key's customer pays.
pub(crate) fn method(payment_key: &str) -> Method {
    if words_of(payment_key).any(|word| word == "virtual") { Method::VirtualAccount } else { Method::Card }
}

fn words_of(payment_key: &str) -> impl Iterator<Item = &'static str> {
    let rest = payment_key.strip_prefix(MAGIC_PREFIX).unwrap_or_default();
    FATES.iter().map(|(word, _)| *word).filter(move |word| rest.contains(word))
}
