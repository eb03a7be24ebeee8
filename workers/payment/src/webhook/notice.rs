//! What a webhook claims. Pure reading; nothing of it is believed.

use serde::Deserialize;

use crate::toss;

/// What a webhook is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `PAYMENT_STATUS_CHANGED`.
    StatusChanged {
        /// The payment's key.
        payment_key: String,
        /// What is compared with the payment's own secret.
        secret: Option<String>,
    },
    /// `DEPOSIT_CALLBACK`: flat, without the payment's key.
    Deposit {
        /// The shop's order.
        order_id: String,
        /// What is compared with the payment's own secret.
        secret: Option<String>,
    },
    /// Another kind.
    Other(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    event_type: Option<String>,
    data: Option<Data>,
    order_id: Option<String>,
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    payment_key: Option<String>,
    order_id: Option<String>,
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    event_type: String,
    data: toss::Payment,
}

impl Notice {
    /// Reads a webhook's body; `None` when it is nothing that the vendor sends.
    pub fn read(body: &str) -> Option<Self> {
        let body: Body = serde_json::from_str(body).ok()?;
        match (body.event_type.as_deref(), body.data) {
            (Some("PAYMENT_STATUS_CHANGED"), Some(data)) => {
                let payment_key = data.payment_key?;
                Some(Self::StatusChanged { payment_key, secret: data.secret })
            }
            (Some("DEPOSIT_CALLBACK"), Some(data)) => {
                Some(Self::Deposit { order_id: data.order_id?, secret: data.secret })
            }
            (None | Some("DEPOSIT_CALLBACK"), None) => {
                Some(Self::Deposit { order_id: body.order_id?, secret: body.secret })
            }
            (Some(kind), _) => Some(Self::Other(kind.chars().take(80).collect())),
            (None, Some(_)) => None,
        }
    }

    /// The payment as a `PAYMENT_STATUS_CHANGED` shows it, if it shows one whole.
    pub fn claim(body: &str) -> Option<toss::Payment> {
        let claim: Claim = serde_json::from_str(body).ok()?;
        (claim.event_type == "PAYMENT_STATUS_CHANGED").then_some(claim.data)
    }

    /// The secret that it carries.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::StatusChanged { secret, .. } | Self::Deposit { secret, .. } => secret.as_deref(),
            Self::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_shapes_are_read_and_nothing_else_is() {
        let changed = |secret: Option<&str>| {
            Some(Notice::StatusChanged { payment_key: "k".to_owned(), secret: secret.map(str::to_owned) })
        };
        let deposit = Some(Notice::Deposit { order_id: "order-1".to_owned(), secret: Some("s".to_owned()) });
        for (body, expected) in [
            (
                r#"{"eventType":"PAYMENT_STATUS_CHANGED","data":{"paymentKey":"k","secret":"s"}}"#,
                changed(Some("s")),
            ),
            (r#"{"eventType":"PAYMENT_STATUS_CHANGED","data":{"paymentKey":"k","new":1}}"#, changed(None)),
            (r#"{"eventType":"PAYMENT_STATUS_CHANGED","data":{}}"#, None),
            (r#"{"orderId":"order-1","secret":"s","status":"DONE"}"#, deposit.clone()),
            (r#"{"eventType":"DEPOSIT_CALLBACK","data":{"orderId":"order-1","secret":"s"}}"#, deposit),
            (r#"{"eventType":"PAYOUT_CHANGED","data":{}}"#, Some(Notice::Other("PAYOUT_CHANGED".to_owned()))),
            (r#"{"data":{"orderId":"order-1"}}"#, None),
            ("{}", None),
            ("[]", None),
            ("no json", None),
        ] {
            assert_eq!(Notice::read(body), expected, "{body}");
        }
    }

    #[test]
    fn only_a_whole_payment_is_a_claim() {
        let claim = |kind: &str, data: &str| {
            let body = format!(r#"{{"eventType":"{kind}","data":{{"paymentKey":"k","orderId":"o"{data}}}}}"#);
            Notice::claim(&body).map(|it| (it.payment_key, it.total_amount))
        };
        let whole = r#","totalAmount":100,"balanceAmount":60,"new":1"#;
        assert_eq!(claim("PAYMENT_STATUS_CHANGED", whole), Some(("k".to_owned(), 100)));
        assert_eq!(claim("PAYMENT_STATUS_CHANGED", r#","totalAmount":100"#), None);
        assert_eq!(claim("DEPOSIT_CALLBACK", whole), None);
        assert_eq!(Notice::claim(r#"{"orderId":"order-1","secret":"s","status":"DONE"}"#), None);
    }
}
