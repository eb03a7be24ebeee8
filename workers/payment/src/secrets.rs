//! The secrets of payments, from the vendor's answer until they are recorded with the payment.
//!
//! They cannot travel in the answer's output, which becomes part of the saga. They are held in memory as a help only:
//! about the webhooks of a payment whose secret is not recorded, the vendor is asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::input::PaymentKey;
use crate::toss::Payment;

/// Far more than calls can be in the air; when it is reached all go.
const HELD_MAX: usize = 10_000;

/// By payment key. Cloning it shares them; they do not show themselves in logs.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<HashMap<String, String>>>);

impl Secrets {
    /// Holds what the vendor has just answered.
    pub(crate) fn hold(&self, payment: &Payment) {
        let Some(secret) = &payment.secret else { return };
        let mut held = self.0.lock();
        if held.len() >= HELD_MAX {
            held.clear();
        }
        held.insert(payment.payment_key.clone(), secret.clone());
    }

    /// The secret to record, if it is held. It stays: what records it may be rolled back and done again.
    pub(crate) fn of(&self, payment_key: &PaymentKey) -> Option<String> {
        self.0.lock().get(payment_key.as_str()).cloned()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}
