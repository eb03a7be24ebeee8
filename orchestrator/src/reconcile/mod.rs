//! Reconciliation: the vendor's ledger, the orders and the stock, compared with the sagas.
//!
//! Owns what does not fit together and since when. It reads other services' books, read-only, and changes nothing:
//! every finding names the saga and what usually helps. What is younger than the grace, or belongs to a saga that has
//! not ended, is left alone: it is still on its way, or stands in the parked queue. What was found is asked for again
//! by every later run, however old it is, until the books agree or somebody settles it.
//!
//! | file | what |
//! |---|---|
//! | [`books`] | reads the books |
//! | [`judge`] | what does not fit: pure |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use saga_core::{Definition, definition::Work};
use saga_protocol::SagaId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::Engine;
use crate::store::StoreError;
use crate::store::audit::Actor;

pub mod books;
pub mod judge;

use books::{Books, Sources};

/// How often it runs by itself.
const EVERY: Duration = Duration::from_secs(600);
/// How soon a process that serves looks for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// How far back the first run looks, and one that somebody asks for.
const WINDOW: TimeDelta = TimeDelta::days(2);
/// How much longer ago than the end of the last run's grace one by itself looks: clocks are not the same everywhere.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// How far back it looks, at most, when no run has succeeded for long.
const WINDOW_MAX: TimeDelta = TimeDelta::days(60);
/// The least grace, whatever the definitions' timeouts are.
const GRACE_MIN_MS: i64 = 60_000;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// The order.
    pub order_id: String,
    /// Its newest saga.
    pub saga: Option<SagaId>,
    /// The money that is wrong.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// In words.
    pub words: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The payments that it was seen by: later runs ask for these.
    pub payments: Vec<String>,
}

/// What runs before have left to do.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Up to when the last one has judged; nothing when there was none.
    pub until: Option<DateTime<Utc>>,
    /// What it found, and nobody has settled.
    pub findings: Vec<Finding>,
    /// The orders that it could not ask for.
    pub unasked: BTreeSet<String>,
}

impl Before {
    /// The orders that did not fit.
    pub fn orders(&self) -> BTreeSet<&String> {
        self.findings.iter().map(|it| &it.order_id).collect()
    }
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The customer's money was kept for an order that does not stand.
    PaidButCancelled,
    /// An order stands that was not paid.
    CompletedButUnpaid,
    /// More was charged for an order than it costs, and kept.
    ChargedTooMuch,
    /// More was given back than was to be.
    RefundedTwice,
    /// Goods are reserved or sold for an order that does not stand.
    StockWithoutOrder,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::PaidButCancelled,
        Self::CompletedButUnpaid,
        Self::ChargedTooMuch,
        Self::RefundedTwice,
        Self::StockWithoutOrder,
    ];

    /// The kind as the API spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PaidButCancelled => "paid_but_cancelled",
            Self::CompletedButUnpaid => "completed_but_unpaid",
            Self::ChargedTooMuch => "charged_too_much",
            Self::RefundedTwice => "refunded_twice",
            Self::StockWithoutOrder => "stock_without_order",
        }
    }

    /// The kind that a word spells.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word)
    }

    /// What usually helps.
    pub const fn suggested(self) -> &'static str {
        match self {
            Self::PaidButCancelled => "refund the payment at the vendor, and note the receipt on the saga",
            Self::CompletedButUnpaid => {
                "ask the customer to pay, or cancel the order; look at the saga's payment step"
            }
            Self::ChargedTooMuch => {
                "give the difference back at the vendor, and note the receipt on the saga"
            }
            Self::RefundedTwice => "ask the vendor to reverse the second refund, or claim it back",
            Self::StockWithoutOrder => "release the reservation in the stock's books",
        }
    }
}

/// How the books stand, as of the last run and the last one that could read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last run could not read them. Nothing when none was made.
    pub failed: Option<bool>,
    /// Open findings by kind.
    pub findings: Vec<(String, i64)>,
}

impl Standing {
    /// Sets the gauges: every process says the same, whichever has compared.
    pub fn tell(&self) {
        let Some(failed) = self.failed else { return };
        metrics::gauge!("amends_reconciliation_failed").set(if failed { 1.0 } else { 0.0 });
        for kind in Kind::ALL {
            let count = self.findings.iter().find(|it| it.0 == kind.word()).map_or(0, |it| it.1);
            metrics::gauge!("amends_reconciliation_findings", "kind" => kind.word())
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Up to when it judges: what is younger is still on its way.
    pub until: DateTime<Utc>,
    /// How long it took, in ms.
    pub took_ms: i64,
    /// Orders that were compared.
    pub orders: i64,
    /// Orders from before the window that were too many to ask the vendor for in one run.
    pub unasked: i64,
    /// How many findings.
    pub findings: i64,
    /// Why it could not be done.
    pub error: Option<String>,
}

/// Compares the books, on demand and by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reconciler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Sources,
    grace_ms: Option<i64>,
}

impl Reconciler {
    /// With these books. `grace_ms` is twice the longest timeout of an action when absent.
    pub fn new(sources: Sources, grace_ms: Option<i64>) -> Self {
        Self(Arc::new(Inner { sources, grace_ms }))
    }

    /// Runs it now. `None` when it runs already. Unless somebody has asked for it, it looks only at what has come of age
    /// since the last run that could read the books, and at what was found then.
    ///
    /// # Errors
    /// When the engine's database fails. Books that cannot be read are told in the run.
    pub async fn run(&self, engine: &Engine, asked_by: Option<&Actor>) -> Result<Option<Run>, StoreError> {
        // One process at a time: each goes on from where the last one was.
        let Some(turn) = engine.store.reconciliation_turn().await? else { return Ok(None) };
        let run = self.compare(engine, asked_by).await;
        turn.end().await?;
        run.map(Some)
    }

    async fn compare(&self, engine: &Engine, asked_by: Option<&Actor>) -> Result<Run, StoreError> {
        let (began, now) = (Instant::now(), Utc::now());
        let grace_ms = self.0.grace_ms.unwrap_or_else(|| {
            let active = engine.definitions.all_active();
            grace_ms(active.iter().map(|it| &it.definition))
        });
        let until = now - TimeDelta::milliseconds(grace_ms);
        let before = engine.store.before_this_run().await?;
        // What the last run left alone, being too young, and all that happened while no run succeeded.
        let next = |until: DateTime<Utc>| until - OVERLAP;
        let far = now - WINDOW.max(TimeDelta::milliseconds(grace_ms) * 2 + OVERLAP);
        let since = match before.until.map(next) {
            Some(next) if asked_by.is_none() => next,
            Some(next) => next.min(far),
            None => far,
        };
        let since = since.max(now - WINDOW_MAX.max(TimeDelta::milliseconds(grace_ms) * 3));
        let (books, error) = match Books::read(&self.0.sources, engine, since, now, &before).await {
            Ok(books) => (books, None),
            Err(error) => (Books::default(), Some(format!("{error:#}"))),
        };
        if let Some(error) = &error {
            tracing::error!(error, "the reconciliation could not read the books");
        }
        if !books.unasked.is_empty() {
            tracing::warn!(
                orders = books.unasked.len(),
                "the vendor was not asked for, or did not answer for, all old orders"
            );
        }
        let mut findings = judge::judge(&books, until);
        // Nobody knows more of these than before.
        findings.retain(|it| !books.unasked.contains(&it.order_id));
        findings.extend(before.findings.into_iter().filter(|it| books.unasked.contains(&it.order_id)));
        let settled = engine.store.settled_findings().await?;
        findings.retain(|it| {
            let at = settled.get(&(it.kind.word().to_owned(), it.order_id.clone(), it.amount.unwrap_or(0)));
            // One without an amount is another one when it came later.
            at.is_none_or(|at| it.amount.is_none() && it.since > *at)
        });
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let run = Run {
            id: Uuid::now_v7(),
            at: now,
            took_ms: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
            orders: whole(books.orders.len()),
            unasked: whole(books.unasked.len()),
            until,
            findings: whole(findings.len()),
            error,
        };
        engine.store.keep_reconciliation(&run, &findings, &books.unasked, asked_by).await?;
        engine.store.standing_of_books().await?.tell();
        drop(engine.news.send("reconciliation"));
        Ok(run)
    }

    /// Runs it by itself, in one process at a time, until shut down.
    pub async fn follow(self, engine: Engine, shutdown: CancellationToken) {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = EVERY;
            let due = match engine.store.last_reconciliation().await {
                Ok(last) => last.is_none_or(|at| Utc::now() - at > TimeDelta::seconds(300)),
                Err(_) => false,
            };
            if due && let Err(error) = self.run(&engine, None).await {
                tracing::warn!(%error, "the reconciliation's result could not be kept");
            }
        }
    }
}

/// Twice the longest that one try of an action may take. Waits and children do not count: while they last, their saga
/// has not ended, and is left alone whatever the grace.
fn grace_ms<'d>(definitions: impl Iterator<Item = &'d Definition>) -> i64 {
    let steps = definitions.flat_map(|it| &it.steps);
    let actions = steps.filter(|step| matches!(step.work, Work::Action { .. }));
    let timeouts = actions.map(|step| {
        let undo = step.compensation.as_ref().map_or(0, |undo| undo.timeout_ms);
        step.timeout_ms.max(undo)
    });
    timeouts.max().unwrap_or(0).saturating_mul(2).max(GRACE_MIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_of_the_shops_definitions_is_minutes_and_not_days() {
        let sources = [
            include_str!("../../../saga-defs/order-checkout.yaml"),
            include_str!("../../../saga-defs/order-delivery.yaml"),
            include_str!("../../../saga-defs/order-virtual-account.yaml"),
        ];
        let all = sources.map(|it| saga_core::definition::load(it).unwrap_or_else(|told| panic!("{told:?}")));
        let grace_ms = grace_ms(all.iter());
        assert!((GRACE_MIN_MS..=600_000).contains(&grace_ms), "{grace_ms}");
    }
}
