//! Cancelling, in full and in part; virtual accounts.

use serde_json::{Value, json};

use crate::support::{Server, refusal};

fn reason() -> Value {
    json!({ "cancelReason": "out of stock" })
}

fn part(amount: i64) -> Value {
    json!({ "cancelReason": "out of stock", "cancelAmount": amount })
}

#[tokio::test]
async fn a_cancel_gives_everything_back_once() {
    let toss = Server::start().await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    let (status, payment) = toss.cancel("tviva_1", reason()).await;
    assert_eq!((status, &payment["status"], &payment["balanceAmount"]), (200, &json!("CANCELED"), &json!(0)));
    let cancel = &payment["cancels"][0];
    assert_eq!((&cancel["cancelAmount"], &cancel["cancelReason"]), (&json!(100), &json!("out of stock")));
    assert_eq!(payment["lastTransactionKey"], cancel["transactionKey"]);
    assert_eq!(refusal(&toss.cancel("tviva_1", reason()).await), (400, "ALREADY_CANCELED_PAYMENT"));
    assert_eq!(toss.totals("order-0001").await, (100, 100));
}

#[tokio::test]
async fn partial_cancels_stay_partial_when_they_have_taken_everything() {
    let toss = Server::start().await;
    toss.confirm("tviva_1", "order-0001", 100).await;
    let (_, payment) = toss.cancel("tviva_1", part(30)).await;
    assert_eq!((&payment["status"], &payment["balanceAmount"]), (&json!("PARTIAL_CANCELED"), &json!(70)));
    assert_eq!(payment["cancels"][0]["refundableAmount"], 70);
    assert_eq!(refusal(&toss.cancel("tviva_1", part(71)).await), (403, "NOT_CANCELABLE_AMOUNT"));
    let (_, payment) = toss.cancel("tviva_1", reason()).await;
    assert_eq!((&payment["status"], &payment["balanceAmount"]), (&json!("PARTIAL_CANCELED"), &json!(0)));
    assert_eq!(refusal(&toss.cancel("tviva_1", part(1)).await), (403, "NOT_CANCELABLE_AMOUNT"));
    assert_eq!(refusal(&toss.cancel("tviva_1", reason()).await), (400, "ALREADY_CANCELED_PAYMENT"));
    assert_eq!(toss.totals("order-0001").await, (100, 100));
}

#[tokio::test]
async fn a_cancel_that_cannot_be_is_refused() {
    let toss = Server::start().await;
    assert_eq!(refusal(&toss.cancel("tgen_nobody", reason()).await), (404, "NOT_FOUND_PAYMENT"));
    toss.confirm("tviva_reject_card", "order-0001", 100).await;
    assert_eq!(refusal(&toss.cancel("tviva_reject_card", reason()).await), (403, "NOT_CANCELABLE_PAYMENT"));
    toss.confirm("tviva_1", "order-0001", 100).await;
    for bad in [
        json!({}),
        json!({ "cancelReason": "" }),
        json!({ "cancelReason": "r".repeat(201) }),
        json!({ "cancelReason": "r", "currency": "USD" }),
    ] {
        assert_eq!(refusal(&toss.cancel("tviva_1", bad.clone()).await), (400, "INVALID_REQUEST"), "{bad}");
    }
    assert_eq!(refusal(&toss.cancel("tviva_1", part(0)).await), (403, "NOT_CANCELABLE_AMOUNT"));
    let mismatch = json!({ "cancelReason": "r", "refundableAmount": 99 });
    assert_eq!(refusal(&toss.cancel("tviva_1", mismatch).await), (400, "NOT_MATCHES_REFUNDABLE_AMOUNT"));
    assert_eq!(toss.totals("order-0001").await, (100, 0));
    let matching = json!({ "cancelReason": "r".repeat(200), "refundableAmount": 100, "currency": "KRW" });
    assert_eq!(toss.cancel("tviva_1", matching).await.0, 200);
}

#[tokio::test]
async fn a_virtual_account_is_captured_by_its_deposit_and_refunded_to_an_account() {
    let toss = Server::start().await;
    let (status, payment) = toss.confirm("tviva_virtual_1", "order-0001", 100).await;
    assert_eq!((status, &payment["status"]), (200, &json!("WAITING_FOR_DEPOSIT")));
    assert_eq!((&payment["method"], &payment["approvedAt"]), (&json!("가상계좌"), &json!(null)));
    assert_eq!(toss.totals("order-0001").await, (0, 0));
    let early = toss.cancel("tviva_virtual_1", part(10)).await;
    assert_eq!(refusal(&early), (403, "NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT"));

    let (_, paid) = toss.post("/sandbox/deposits", json!({ "order_id": "order-0001" })).await;
    assert_eq!(paid["status"], "DONE");
    assert_eq!(toss.totals("order-0001").await, (100, 0));
    let no_account = toss.cancel("tviva_virtual_1", reason()).await;
    assert_eq!(refusal(&no_account), (400, "INVALID_REFUND_ACCOUNT_INFO"));
    let body = json!({ "cancelReason": "r", "refundReceiveAccount":
        { "bank": "20", "accountNumber": "1234567890", "holderName": "Kim" } });
    assert_eq!(toss.cancel("tviva_virtual_1", body).await.1["status"], "CANCELED");
    assert_eq!(toss.totals("order-0001").await, (100, 100));
}

#[tokio::test]
async fn a_deposit_error_takes_done_back_to_waiting() {
    let toss = Server::start().await;
    toss.confirm("tviva_virtual_1", "order-0001", 100).await;
    toss.post("/sandbox/deposits", json!({ "order_id": "order-0001" })).await;
    let (_, undone) =
        toss.post("/sandbox/deposits", json!({ "order_id": "order-0001", "undone": true })).await;
    assert_eq!(undone["status"], "WAITING_FOR_DEPOSIT");
    assert_eq!(toss.totals("order-0001").await, (100, 100));
}

#[tokio::test]
async fn cancelling_an_account_that_waits_moves_no_money() {
    let toss = Server::start().await;
    toss.confirm("tviva_virtual_1", "order-0001", 100).await;
    assert_eq!(toss.cancel("tviva_virtual_1", reason()).await.1["status"], "CANCELED");
    assert_eq!(toss.totals("order-0001").await, (0, 0));
}
