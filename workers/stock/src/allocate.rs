//! Who of a batch gets what: pure, in the order of arrival.
//!
//! Owns fairness. A request is served whole or not at all; one that does not fit is refused, and
//! those behind it are still served from what is left.

use std::collections::HashMap;

use crate::input::{Request, Sku};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All of it was set aside.
    Reserved,
    /// A SKU has too little left; nothing was set aside.
    OutOfStock {
        /// The first SKU, in the SKUs' order, that is short.
        sku: Sku,
        /// How many were asked for.
        asked: i64,
        /// How many were left.
        left: i64,
    },
    /// A SKU is not in the books; nothing was set aside.
    UnknownSku(Sku),
}

/// Serves `requests` from what is `available`, in order, and returns a decision each.
pub fn allocate(mut available: HashMap<Sku, i64>, requests: &[&Request]) -> Vec<Decision> {
    requests
        .iter()
        .map(|request| {
            let decision = decide(&available, request);
            if decision == Decision::Reserved {
                for (sku, quantity) in &request.units {
                    if let Some(left) = available.get_mut(sku) {
                        *left -= quantity;
                    }
                }
            }
            decision
        })
        .collect()
}

fn decide(available: &HashMap<Sku, i64>, request: &Request) -> Decision {
    // What is not sold here at all is the worse mistake, so it is named first.
    if let Some(sku) = request.units.keys().find(|sku| !available.contains_key(sku)) {
        return Decision::UnknownSku(sku.clone());
    }
    for (sku, &asked) in &request.units {
        let left = available.get(sku).copied().unwrap_or(0);
        if asked > left {
            return Decision::OutOfStock { sku: sku.clone(), asked, left };
        }
    }
    Decision::Reserved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn sku(name: &str) -> Sku {
        Sku::new(name).unwrap()
    }

    fn request(units: &[(&str, i64)]) -> Request {
        let items: Vec<_> = units
            .iter()
            .map(|(sku, quantity)| serde_json::json!({ "sku": sku, "quantity": quantity }))
            .collect();
        let input = serde_json::json!({ "order_id": "order-1", "items": items }).to_string();
        let wire: saga_protocol::Command = serde_json::from_value(serde_json::json!({
            "saga": uuid::Uuid::nil(), "definition": "d", "step": "s", "direction": "execute", "round": 1,
            "attempt": 1, "action": "reserve", "first_sent_at_ms": 0, "sent_at_ms": 0, "expires_at_ms": 1,
            "input": serde_json::from_str::<serde_json::Value>(&input).unwrap(),
        }))
        .unwrap();
        Request::of(&saga_worker::Command { wire, traceparent: None }).unwrap()
    }

    #[test]
    fn a_large_request_that_does_not_fit_leaves_the_rest_to_smaller_ones() {
        let requests = [request(&[("a", 3)]), request(&[("a", 4)]), request(&[("a", 2)])];
        let decisions = allocate(HashMap::from([(sku("a"), 5)]), &requests.iter().collect::<Vec<_>>());
        assert_eq!(
            decisions,
            [
                Decision::Reserved,
                Decision::OutOfStock { sku: sku("a"), asked: 4, left: 2 },
                Decision::Reserved
            ]
        );
    }

    #[test]
    fn a_request_gets_all_of_its_skus_or_none() {
        let requests = [request(&[("a", 1), ("b", 2)]), request(&[("a", 1), ("c", 1)]), request(&[("a", 1)])];
        let available = HashMap::from([(sku("a"), 1), (sku("b"), 1)]);
        let decisions = allocate(available, &requests.iter().collect::<Vec<_>>());
        assert_eq!(
            decisions,
            [
                Decision::OutOfStock { sku: sku("b"), asked: 2, left: 1 },
                Decision::UnknownSku(sku("c")),
                Decision::Reserved
            ]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_oversold_and_nothing_that_fits_is_refused(
            stock in prop::collection::vec(0_i64..20, 3),
            asks in prop::collection::vec(prop::collection::vec((0_usize..3, 1_i64..8), 1..4), 0..30),
        ) {
            let names = ["a", "b", "c"];
            let requests: Vec<Request> = asks
                .iter()
                .map(|lines| request(&lines.iter().map(|(at, n)| (names[*at], *n)).collect::<Vec<_>>()))
                .collect();
            let available: HashMap<Sku, i64> =
                names.iter().zip(&stock).map(|(name, left)| (sku(name), *left)).collect();
            let decisions = allocate(available.clone(), &requests.iter().collect::<Vec<_>>());
            let mut left = available;
            for (request, decision) in requests.iter().zip(&decisions) {
                let fits = request.units.iter().all(|(sku, n)| left[sku] >= *n);
                prop_assert_eq!(fits, *decision == Decision::Reserved);
                if fits {
                    for (sku, n) in &request.units {
                        *left.get_mut(sku).unwrap() -= n;
                    }
                }
            }
            prop_assert!(left.values().all(|left| *left >= 0));
        }
    }
}
