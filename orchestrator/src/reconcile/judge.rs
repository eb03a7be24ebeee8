//! What does not fit together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::books::{Books, Money, Order};
use super::{Finding, Kind};

/// What does not fit, of what came to stand so before `until`; the largest amounts first.
pub fn judge(books: &Books, until: DateTime<Utc>) -> Vec<Finding> {
    let ids: BTreeSet<&String> =
        books.orders.keys().chain(books.money.keys()).chain(books.goods.keys()).collect();
    let mut findings: Vec<Finding> = ids.into_iter().flat_map(|id| of_order(books, id, until)).collect();
    findings.sort_by(|a, b| b.amount.cmp(&a.amount).then_with(|| a.order_id.cmp(&b.order_id)));
    findings
}

fn of_order(books: &Books, id: &str, until: DateTime<Utc>) -> Vec<Finding> {
    let saga = books.sagas.get(id);
    // It is still on its way, or waits for a human in the parked queue.
    if saga.is_some_and(|saga| saga.ended_at.is_none_or(|at| at > until)) {
        return Vec::new();
    }
    let order = books.orders.get(id);
    let none = Money::default();
    let money = books.money.get(id).unwrap_or(&none);
    let goods = books.goods.get(id);
    let since = [order.map(|it| it.at), Some(money.at), goods.map(|it| it.at)].into_iter().flatten().max();
    let since = since.unwrap_or(until);
    if since > until {
        return Vec::new();
    }
    let status = order.map_or("absent", |it| it.status.as_str());
    let kept = money.captured - money.refunded;
    // Whether all of its money is in these books.
    let whole = order.map_or_else(|| books.asked.contains(id), |it| it.whole);
    let finding = |kind: Kind, amount: Option<i64>, words: String| Finding {
        kind,
        order_id: id.to_owned(),
        saga: saga.map(|it| it.id),
        amount,
        currency: order.map(|it| it.currency.clone()),
        words,
        since,
        payments: money.keys.iter().cloned().collect(),
    };
    let mut found = Vec::new();
    if status != "completed" && kept > 0 {
        let words =
            format!("the order is {status}, and {kept} of {} that were charged are kept", money.captured);
        found.push(finding(Kind::PaidButCancelled, Some(kept), words));
    }
    if let Some(order) = order.filter(|it| it.status == "completed" && whole) {
        if money.captured < order.amount {
            let words =
                format!("the order is completed, and {} of {} were charged", money.captured, order.amount);
            found.push(finding(Kind::CompletedButUnpaid, Some(order.amount - money.captured), words));
        } else if kept <= 0 && order.amount > order.granted {
            // A part may have been given back for a return; more than was granted leaves an order that nobody paid.
            let words = format!("the order is completed, and all of the {} were given back", money.captured);
            found.push(finding(Kind::CompletedButUnpaid, Some(order.amount), words));
        } else if kept > order.amount {
            let over = kept - order.amount;
            let words = format!("the order is completed for {}, and {kept} are kept", order.amount);
            found.push(finding(Kind::ChargedTooMuch, Some(over), words));
        }
    }
    if whole && money.refunded > money.captured {
        let over = money.refunded - money.captured;
        let words = format!(
            "{} were given back in {} refunds, {over} more than the {} that were charged",
            money.refunded,
            money.refunds.len(),
            money.captured
        );
        found.push(finding(Kind::RefundedTwice, Some(over), words));
    } else if let Some((amount, times)) = repeated(&money.refunds)
        // What an earlier try was charged was given back when that was undone.
        .filter(|_| {
            let owed = |it: &Order| it.granted + (money.captured - it.amount).max(0);
            whole && status == "completed" && order.is_some_and(|it| money.refunded > owed(it))
        })
    {
        // Parts may be given back for returns, each once; two alike that nobody granted are looked at by somebody.
        let words = format!("the order is completed, and {amount} were given back {times} times");
        found.push(finding(Kind::RefundedTwice, Some(amount * (times - 1)), words));
    }
    // Its saga has ended: an order that was only created is not going to be completed, either.
    if let Some(goods) = goods.filter(|_| status != "completed") {
        let held = if goods.sold { "sold" } else { "reserved" };
        found.push(finding(
            Kind::StockWithoutOrder,
            None,
            format!("the order is {status}, and its goods are {held}"),
        ));
    }
    found
}

/// The largest amount that was given back more than once, and how often.
fn repeated(refunds: &[i64]) -> Option<(i64, i64)> {
    let mut times: BTreeMap<i64, i64> = BTreeMap::new();
    for amount in refunds {
        *times.entry(*amount).or_default() += 1;
    }
    times.into_iter().rev().find(|(_, times)| *times > 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::TimeDelta;
    use saga_protocol::SagaId;
    use uuid::Uuid;

    use super::super::books::{Goods, Order, Saga};
    use super::*;

    struct Case {
        books: Books,
        now: DateTime<Utc>,
    }

    impl Case {
        fn new() -> Self {
            let now = Utc::now();
            Self { books: Books { since: now - TimeDelta::days(1), ..Books::default() }, now }
        }

        fn ago(&self, minutes: i64) -> DateTime<Utc> {
            self.now - TimeDelta::minutes(minutes)
        }

        fn order(mut self, status: &str, minutes: i64) -> Self {
            let at = self.ago(minutes);
            let whole = at >= self.books.since;
            let order =
                Order { status: status.into(), amount: 100, granted: 0, currency: "KRW".into(), at, whole };
            self.books.orders.insert("o".into(), order);
            self
        }

        /// Some was granted for returns.
        fn granted(mut self, amount: i64) -> Self {
            self.books.orders.values_mut().for_each(|it| it.granted = amount);
            self
        }

        fn money(mut self, captured: i64, refunds: &[i64], minutes: i64) -> Self {
            let at = self.ago(minutes);
            let refunded = refunds.iter().sum();
            self.books.money.insert(
                "o".into(),
                Money { captured, refunded, refunds: refunds.to_vec(), at, ..Money::default() },
            );
            self.books.asked.insert("o".into());
            self
        }

        fn goods(mut self, sold: bool) -> Self {
            let at = self.ago(30);
            self.books.goods.insert("o".into(), Goods { sold, at });
            self
        }

        fn saga(mut self, ended_minutes: Option<i64>) -> Self {
            let ended_at = ended_minutes.map(|minutes| self.ago(minutes));
            self.books.sagas.insert("o".into(), Saga { id: SagaId(Uuid::nil()), ended_at });
            self
        }

        fn kinds(&self) -> Vec<Kind> {
            judge(&self.books, self.ago(2)).into_iter().map(|it| it.kind).collect()
        }
    }

    #[test]
    fn each_kind_is_found_and_what_fits_is_not() {
        let fits = Case::new().order("completed", 30).money(100, &[], 31).goods(true).saga(Some(29));
        assert_eq!(fits.kinds(), []);
        let undone = Case::new().order("cancelled", 30).money(100, &[100], 31).saga(Some(29));
        assert_eq!(undone.kinds(), []);
        let kept = Case::new().order("cancelled", 30).money(100, &[], 31).saga(Some(29));
        assert_eq!(kept.kinds(), [Kind::PaidButCancelled]);
        let nobodys = Case::new().money(100, &[], 31);
        assert_eq!(nobodys.kinds(), [Kind::PaidButCancelled]);
        let unpaid = Case::new().order("completed", 30).saga(Some(29));
        assert_eq!(unpaid.kinds(), [Kind::CompletedButUnpaid]);
        let back = Case::new().order("completed", 30).money(100, &[100], 31).saga(Some(29));
        assert_eq!(back.kinds(), [Kind::CompletedButUnpaid], "all was given back");
        let part = Case::new().order("completed", 30).money(100, &[40], 31).saga(Some(29));
        assert_eq!(part.kinds(), [], "a part was given back, for a return");
        let all = |granted| {
            Case::new().order("completed", 30).granted(granted).money(100, &[60, 40], 31).saga(Some(29))
        };
        assert_eq!(all(100).kinds(), [], "everything came back, and all was granted");
        assert_eq!(all(60).kinds(), [Kind::CompletedButUnpaid], "more was given back than was granted");
        let alike = |granted| {
            Case::new().order("completed", 30).granted(granted).money(100, &[15, 15], 31).saga(Some(29))
        };
        assert_eq!(alike(30).kinds(), [], "two returns that cost the same");
        assert_eq!(alike(15).kinds(), [Kind::RefundedTwice], "one of them twice");
        let again =
            Case::new().order("completed", 30).granted(100).money(200, &[100, 100], 31).saga(Some(29));
        assert_eq!(again.kinds(), [], "the first try was undone, and what the second one brought came back");
        let much = Case::new().order("completed", 30).money(200, &[], 31).saga(Some(29));
        assert_eq!(much.kinds(), [Kind::ChargedTooMuch]);
        let twice = Case::new().order("cancelled", 30).money(200, &[100, 100], 31).saga(Some(29));
        assert_eq!(twice.kinds(), [], "charged twice and given back twice");
        let twice = Case::new().order("cancelled", 30).money(100, &[100, 100], 31).saga(Some(29));
        assert_eq!(twice.kinds(), [Kind::RefundedTwice]);
        let returns = Case::new().order("completed", 30).money(100, &[10, 15], 31).saga(Some(29));
        assert_eq!(returns.kinds(), [], "two returns");
        let twice = Case::new().order("completed", 30).money(100, &[15, 15], 31).saga(Some(29));
        assert_eq!(twice.kinds(), [Kind::RefundedTwice], "one return twice");
        let goods = Case::new().order("cancelled", 30).goods(false).saga(Some(29));
        assert_eq!(goods.kinds(), [Kind::StockWithoutOrder]);
        let given_up = Case::new().order("created", 30).goods(false).saga(Some(29));
        assert_eq!(given_up.kinds(), [Kind::StockWithoutOrder], "its saga was abandoned");
    }

    #[test]
    fn what_is_on_its_way_is_left_alone() {
        let running = Case::new().order("cancelled", 30).money(100, &[], 31).saga(None);
        assert_eq!(running.kinds(), [], "its saga has not ended");
        let just = Case::new().order("cancelled", 30).money(100, &[], 31).saga(Some(1));
        assert_eq!(just.kinds(), [], "its saga has just ended");
        let moving = Case::new().order("cancelled", 1).money(100, &[], 31).saga(Some(29));
        assert_eq!(moving.kinds(), [], "the order has just changed");
        let paying = Case::new().order("cancelled", 30).money(100, &[], 1).saga(Some(29));
        assert_eq!(paying.kinds(), [], "its money has just moved");
    }

    #[test]
    fn of_an_order_from_before_the_window_absent_money_says_nothing() {
        let old = Case::new().order("completed", 3_000).goods(true).saga(Some(2_999));
        assert_eq!(old.kinds(), []);
        let old = Case::new().order("cancelled", 3_000).money(0, &[50, 50], 31).saga(Some(2_999));
        assert_eq!(old.kinds(), [], "it was charged before the window");
    }
}
