//! The handler of `confirm` and `cancel`: what every class of answer means for a saga, over real HTTP.

use chrono::Utc;
use saga_worker::{CallResult, External, Inquiry};
use serde_json::{Value, json};
use toss_sandbox::DEFAULT_SECRET_KEY;
use worker_payment::payments::Payments;

use crate::support::{Toss, call, client, commands, input, key, order};

/// A result's kind, and the fault's code or what the output says of the money.
fn kind(result: &CallResult) -> String {
    match result {
        CallResult::Done(output) => format!("done {}", money(output.as_deref())),
        CallResult::Declined(fault) => format!("declined {}", fault.code),
        CallResult::Unknown(fault) => format!("unknown {}", fault.code),
        CallResult::NotSent(fault) => format!("not sent {}", fault.code),
        CallResult::OwnTrouble(fault) => format!("own {}", fault.code),
    }
}

fn found(inquiry: &Inquiry) -> String {
    match inquiry {
        Inquiry::Found(output) => format!("found {}", money(output.as_deref())),
        Inquiry::NotFound => "not found".to_owned(),
        Inquiry::Impossible(fault) => format!("impossible {}", fault.code),
        Inquiry::Unknown(fault) => format!("unknown {}", fault.code),
    }
}

fn money(output: Option<&serde_json::value::RawValue>) -> String {
    let output: Value = serde_json::from_str(output.unwrap().get()).unwrap();
    let refunded = &output["refunded_amount"];
    match output.get("captured_amount") {
        Some(captured) => format!("+{captured} -{refunded}"),
        None => format!("-{refunded}"),
    }
}

async fn confirm(payments: &Payments, input: &Value) -> String {
    kind(&payments.call(&call(commands(input).0)).await)
}

async fn cancel(payments: &Payments, input: &Value) -> String {
    kind(&payments.call(&call(commands(input).1)).await)
}

#[tokio::test]
async fn refused_confirms_by_class_when_nothing_was_captured() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    for (code, expected) in [
        ("FAILED_INTERNAL_SYSTEM_PROCESSING", "unknown"),
        ("FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING", "unknown"),
        ("UNKNOWN_PAYMENT_ERROR", "unknown"),
        ("COMMON_ERROR", "unknown"),
        ("PROVIDER_ERROR", "unknown"),
        ("FORBIDDEN_CONSECUTIVE_REQUEST", "unknown"),
        ("IDEMPOTENT_REQUEST_PROCESSING", "unknown"),
        ("ALREADY_PROCESSED_PAYMENT", "unknown"),
        ("REJECT_CARD_COMPANY", "declined"),
        ("REJECT_CARD_PAYMENT", "declined"),
        ("REJECT_ACCOUNT_PAYMENT", "declined"),
        ("INVALID_CARD_EXPIRATION", "declined"),
        ("INVALID_STOPPED_CARD", "declined"),
        ("EXCEED_MAX_DAILY_PAYMENT_COUNT", "declined"),
        ("NOT_FOUND_PAYMENT_SESSION", "declined"),
        ("NOT_FOUND_PAYMENT", "declined"),
        ("A_CODE_OF_TOMORROW", "declined"),
        ("UNAUTHORIZED_KEY", "own"),
        ("INVALID_API_KEY", "own"),
        ("INCORRECT_BASIC_AUTH_FORMAT", "own"),
    ] {
        toss.refuse("confirm", code).await;
        let result = confirm(&payments, &input(&key("ok"), &order(), 100)).await;
        assert_eq!(result, format!("{expected} {code}"));
        toss.clear_faults().await;
    }
}

#[tokio::test]
async fn doubtful_refusals_are_success_when_the_payment_matches() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    for code in ["ALREADY_PROCESSED_PAYMENT", "A_CODE_OF_TOMORROW", "INVALID_REQUEST"] {
        let input = input(&key("ok"), &order(), 100);
        assert_eq!(confirm(&payments, &input).await, "done +100 -0");
        toss.refuse("confirm", code).await;
        assert_eq!(confirm(&payments, &input).await, "done +100 -0", "{code}");
        toss.refuse("inquire", "COMMON_ERROR").await;
        assert_eq!(confirm(&payments, &input).await, format!("unknown {code}"), "nobody could tell");
        toss.clear_faults().await;
    }
}

#[tokio::test]
async fn an_answer_about_another_payment_is_not_success() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let (theirs, ours) = (input(&key("ok"), &order(), 100), input(&key("ok"), &order(), 100));
    let (first, _) = commands(&theirs);
    assert_eq!(kind(&payments.call(&call(first.clone())).await), "done +100 -0");
    // The same saga and step with another input: its effect key is taken.
    let (mut second, _) = commands(&ours);
    second.saga = first.saga;
    let result = kind(&payments.call(&call(second)).await);
    assert_eq!(result, "unknown payment_mismatch");
    assert_eq!(toss.totals(ours["order_id"].as_str().unwrap()).await, (0, 0));
}

/// A vendor that answers every inquiry with the same payment.
async fn stubborn(payment: Value) -> Payments {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(move || std::future::ready(axum::Json(payment.clone())));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Payments::new(client(&base, DEFAULT_SECRET_KEY, 10_000))
}

#[tokio::test]
async fn an_inquiry_answered_with_another_payment_says_nothing_about_ours() {
    let ours = input(&key("ok"), &order(), 100);
    let theirs = json!({ "paymentKey": "theirs", "orderId": ours["order_id"], "totalAmount": 100,
        "balanceAmount": 0, "status": "CANCELED", "approvedAt": "2026-01-01T00:00:00+09:00" });
    let payments = stubborn(theirs).await;
    let (execute, mut undo) = commands(&ours);
    for command in [execute.clone(), undo.clone()] {
        assert_eq!(found(&payments.inquire(&call(command)).await), "unknown payment_mismatch");
    }
    assert_eq!(kind(&payments.call(&call(execute)).await), "unknown payment_mismatch");
    assert_eq!(kind(&payments.call(&call(undo.clone())).await), "unknown payment_mismatch");
    undo.first_sent_at_ms -= 15 * 24 * 3600 * 1000;
    assert_eq!(
        kind(&payments.call(&call(undo)).await),
        "not sent payment_mismatch",
        "nor what is left of it"
    );
}

#[tokio::test]
async fn a_payment_of_another_order_or_amount_is_declined() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let (key, order_id) = (key("ok"), order());
    assert_eq!(confirm(&payments, &input(&key, &order_id, 100)).await, "done +100 -0");
    for other in [input(&key, &order(), 100), input(&key, &order_id, 99)] {
        assert_eq!(confirm(&payments, &other).await, "declined payment_mismatch");
        let inquiry = payments.inquire(&call(commands(&other).0)).await;
        assert_eq!(found(&inquiry), "impossible payment_mismatch");
    }
    assert_eq!(toss.totals(&order_id).await, (100, 0));
}

#[tokio::test]
async fn inquiries_about_a_confirm_say_what_stands() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let order_id = order();
    let body = json!({ "order_id": order_id, "amount": 100 });
    let session = toss.dev(reqwest::Method::POST, "sessions", Some(body)).await;
    let input = input(session["payment_key"].as_str().unwrap(), &order_id, 100);
    let (execute, undo) = commands(&input);
    let ask = || async { found(&payments.inquire(&call(execute.clone())).await) };
    assert_eq!(ask().await, "not found", "authenticated is not confirmed");
    assert_eq!(kind(&payments.call(&call(execute.clone())).await), "done +100 -0");
    assert_eq!(ask().await, "found +100 -0");
    toss.refuse("inquire", "COMMON_ERROR").await;
    assert_eq!(ask().await, "unknown COMMON_ERROR");
    toss.clear_faults().await;
    assert_eq!(kind(&payments.call(&call(undo)).await), "done -100");
    assert_eq!(ask().await, "impossible payment_canceled");

    let refused = crate::support::input(&key("reject_card"), &order(), 100);
    let (execute, _) = commands(&refused);
    assert_eq!(found(&payments.inquire(&call(execute.clone())).await), "not found");
    assert_eq!(kind(&payments.call(&call(execute.clone())).await), "declined REJECT_CARD_COMPANY");
    assert_eq!(found(&payments.inquire(&call(execute)).await), "impossible REJECT_CARD_COMPANY");
}

#[tokio::test]
async fn lost_and_late_answers_are_unknown_and_found_by_inquiry() {
    let toss = Toss::start().await;
    let payments = Payments::new(client(&toss.base, DEFAULT_SECRET_KEY, 1_500));
    for (fate, expected) in
        [("lost_answer", "unknown toss_no_answer"), ("hang_answer", "unknown toss_timeout")]
    {
        let (execute, _) = commands(&input(&key(fate), &order(), 100));
        assert_eq!(kind(&payments.call(&call(execute.clone())).await), expected);
        assert_eq!(found(&payments.inquire(&call(execute)).await), "found +100 -0");
    }
}

#[tokio::test]
async fn nothing_listens_and_too_late_are_not_sent() {
    let toss = Toss::start().await;
    let (execute, undo) = commands(&input(&key("ok"), &order(), 100));
    let deaf = Payments::new(client("http://127.0.0.1:1", DEFAULT_SECRET_KEY, 300));
    assert_eq!(kind(&deaf.call(&call(execute.clone())).await), "not sent toss_unreachable");
    assert_eq!(kind(&deaf.call(&call(undo.clone())).await), "not sent toss_unreachable");
    for command in [execute, undo] {
        let mut late = call(command);
        late.not_after_ms = 0;
        assert_eq!(kind(&toss.payments().call(&late).await), "not sent toss_too_late");
    }
}

#[tokio::test]
async fn an_input_that_cannot_be_asked_is_declined_unsent() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    toss.fault(json!({ "fault": { "error": "COMMON_ERROR" } })).await;
    for bad in [json!({}), input("k", "short", 100), input("k", &order(), 0)] {
        let (execute, undo) = commands(&bad);
        assert_eq!(kind(&payments.call(&call(execute.clone())).await), "declined bad_input");
        assert_eq!(kind(&payments.call(&call(undo.clone())).await), "declined bad_input");
        // Another version may have understood it, and called: that this one does not proves nothing.
        for command in [execute, undo] {
            assert_eq!(found(&payments.inquire(&call(command)).await), "unknown bad_input");
        }
    }
}

#[tokio::test]
async fn refused_refunds_by_class() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    for (code, expected) in [
        ("FAILED_REFUND_PROCESS", "unknown"),
        ("COMMON_ERROR", "unknown"),
        ("PROVIDER_ERROR", "unknown"),
        ("FORBIDDEN_CONSECUTIVE_REQUEST", "unknown"),
        ("IDEMPOTENT_REQUEST_PROCESSING", "unknown"),
        ("ALREADY_CANCELED_PAYMENT", "unknown"),
        ("ALREADY_REFUND_PAYMENT", "unknown"),
        ("NOT_CANCELABLE_AMOUNT", "declined"),
        ("NOT_CANCELABLE_PAYMENT", "declined"),
        ("EXCEED_MAX_REFUND_DUE", "declined"),
        ("REFUND_REJECTED", "declined"),
        ("NOT_ALLOWED_PARTIAL_REFUND", "declined"),
        ("EXCEED_CANCEL_LIMIT", "declined"),
        ("NOT_MATCHES_REFUNDABLE_AMOUNT", "declined"),
        ("NOT_FOUND_PAYMENT", "declined"),
        ("A_CODE_OF_TOMORROW", "declined"),
        ("UNAUTHORIZED_KEY", "own"),
        ("INVALID_API_KEY", "own"),
        ("INCORRECT_BASIC_AUTH_FORMAT", "own"),
    ] {
        let input = input(&key("ok"), &order(), 100);
        assert_eq!(confirm(&payments, &input).await, "done +100 -0");
        toss.refuse("cancel", code).await;
        let result = payments.call(&call(commands(&input).1)).await;
        assert_eq!(kind(&result), format!("{expected} {code}"));
        if let CallResult::Declined(fault) = &result {
            assert!(fault.message.contains("What to do: "), "{fault:?}");
        }
        // The same refusals when the money is back already: every one that was answered is a success,
        // except those that say nothing about the payment.
        toss.clear_faults().await;
        assert_eq!(cancel(&payments, &input).await, "done -100");
        toss.refuse("cancel", code).await;
        let expected = if expected == "declined" || code.starts_with("ALREADY_") {
            "done -100".to_owned()
        } else {
            format!("{expected} {code}")
        };
        assert_eq!(cancel(&payments, &input).await, expected, "{code} when nothing is left to give back");
        toss.clear_faults().await;
    }
}

#[tokio::test]
async fn refunds_that_nobody_can_check_are_unknown() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let input = input(&key("ok"), &order(), 100);
    confirm(&payments, &input).await;
    toss.refuse("cancel", "REFUND_REJECTED").await;
    toss.refuse("inquire", "COMMON_ERROR").await;
    assert_eq!(cancel(&payments, &input).await, "unknown REFUND_REJECTED");
}

#[tokio::test]
async fn a_partial_refund_is_given_once_and_known_by_its_key() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let mut input = input(&key("ok"), &order(), 100);
    confirm(&payments, &input).await;
    input["cancel_amount"] = json!(40);
    let (_, undo) = commands(&input);
    // Somebody gives back the same amount by hand: it is not this refund.
    let by_hand = worker_payment::toss::CancelRequest {
        cancel_reason: "by hand".to_owned(),
        cancel_amount: Some(40),
        ..Default::default()
    };
    toss.client.cancel(input["payment_key"].as_str().unwrap(), &by_hand, "hand", || true).await.unwrap();
    assert_eq!(found(&payments.inquire(&call(undo.clone())).await), "not found");
    for _ in 0..2 {
        assert_eq!(kind(&payments.call(&call(undo.clone())).await), "done -80");
    }
    assert_eq!(found(&payments.inquire(&call(undo)).await), "found -80");
    assert_eq!(toss.totals(input["order_id"].as_str().unwrap()).await, (100, 80));
}

#[tokio::test]
async fn a_refund_older_than_idempotency_keys_looks_first_and_names_what_is_left() {
    const OLD_MS: i64 = 15 * 24 * 3600 * 1000;
    let toss = Toss::start().await;
    let payments = toss.payments();
    let mut input = input(&key("ok"), &order(), 100);
    confirm(&payments, &input).await;
    input["cancel_amount"] = json!(40);
    let (_, mut undo) = commands(&input);
    undo.first_sent_at_ms = Utc::now().timestamp_millis() - OLD_MS;
    // Lost on its way back; by now the vendor has forgotten the key.
    toss.fault(json!({ "operation": "cancel", "times": 1, "fault": { "lost": "answer" } })).await;
    assert_eq!(kind(&payments.call(&call(undo.clone())).await), "unknown toss_no_answer");
    toss.dev(reqwest::Method::POST, "clock", Some(json!({ "advance_ms": OLD_MS + 1_000 }))).await;
    assert_eq!(kind(&payments.call(&call(undo.clone())).await), "done -40");
    assert_eq!(toss.totals(input["order_id"].as_str().unwrap()).await, (100, 40));

    // Without a trace of it the amount is named: the refund is given, and only on that balance.
    let mut other = commands(&input).1;
    other.first_sent_at_ms = undo.first_sent_at_ms;
    assert_eq!(kind(&payments.call(&call(other)).await), "done -80");
    let mut third = commands(&input).1;
    third.first_sent_at_ms = undo.first_sent_at_ms;
    toss.refuse("inquire", "COMMON_ERROR").await;
    assert_eq!(kind(&payments.call(&call(third)).await), "not sent COMMON_ERROR");
    assert_eq!(toss.totals(input["order_id"].as_str().unwrap()).await, (100, 80));
}

#[tokio::test]
async fn a_virtual_account_counts_only_where_it_is_offered() {
    let toss = Toss::start().await;
    let payments = toss.payments();
    let refused = input(&key("virtual"), &order(), 100);
    assert_eq!(confirm(&payments, &refused).await, "declined virtual_account_not_offered");
    let (payment_key, order_id) =
        (refused["payment_key"].as_str().unwrap(), refused["order_id"].as_str().unwrap());
    let payment = toss.client.payment(payment_key).await.unwrap().unwrap();
    assert_eq!((payment.status.as_str(), payment.balance_amount), ("CANCELED", 0));
    assert_eq!(toss.totals(order_id).await, (0, 0));
    let inquiry = payments.inquire(&call(commands(&refused).0)).await;
    assert_eq!(found(&inquiry), "impossible payment_canceled");

    let mut offered = input(&key("virtual"), &order(), 100);
    offered["virtual_account"] = json!(true);
    assert_eq!(confirm(&payments, &offered).await, "done +0 -0");
    assert_eq!(cancel(&payments, &offered).await, "done -0", "nothing was paid in");

    // The void fails: the account stands, and that is not known to be nothing.
    let stuck = input(&key("virtual"), &order(), 100);
    toss.refuse("cancel", "COMMON_ERROR").await;
    assert_eq!(confirm(&payments, &stuck).await, "unknown COMMON_ERROR");
}
