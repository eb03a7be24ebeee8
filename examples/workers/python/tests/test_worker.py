"""The worker's promises, each on a real Kafka, a real Postgres and a real process."""

from __future__ import annotations

import json
import signal

from conftest import now_ms, saga_id, until

DAY_MS = 24 * 3_600_000


def test_a_command_is_answered_where_and_as_it_asks(bench):
    bench.start()
    saga = saga_id()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    bench.send(bench.command(saga), traceparent=trace)
    reply = bench.reply(saga)
    headers = reply.pop("headers")
    assert reply == {
        "saga": saga,
        "step": "spend_points",
        "direction": "execute",
        "round": 1,
        "attempt": 1,
        "outcome": "succeeded",
        "output": {"points_left": 70},
        "key": saga,
        "partition": 1,
    }
    assert headers["ce_type"] == "amends.reply"
    assert headers["ce_id"] == f"{saga}:spend_points:x1:1"
    assert headers["ce_source"] == "/workers/points"
    assert headers["traceparent"] == trace
    assert bench.points("alice") == 70


def test_a_second_execute_gets_the_stored_reply_and_does_nothing(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga))
    first = bench.reply(saga)
    bench.send(bench.command(saga, attempt=2))
    second = bench.reply(saga, attempt=2)
    assert (second["outcome"], second["output"]) == (first["outcome"], first["output"])
    assert bench.points("alice") == 70


def test_a_rejection_is_stored_too_and_changes_nothing(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga, input={"customer_id": "alice", "points": 101}))
    assert bench.reply(saga)["error"]["code"] == "not_enough_points"
    bench.credit("alice", 1000)
    bench.send(bench.command(saga, attempt=2, input={"customer_id": "alice", "points": 101}))
    assert bench.reply(saga, attempt=2)["error"]["code"] == "not_enough_points"
    # A new round is a new try.
    bench.send(bench.command(saga, round=2, input={"customer_id": "alice", "points": 101}))
    assert bench.reply(saga, round=2)["outcome"] == "succeeded"
    assert bench.points("alice") == 999


def test_input_that_makes_no_sense_is_rejected(bench):
    bench.start()
    for given in [None, [], {}, {"customer_id": "alice", "points": True}, {"customer_id": "a\0b", "points": 1},
                  {"customer_id": "\ud800", "points": 1}, {"customer_id": "alice", "points": -5}]:
        saga = saga_id()
        bench.send(bench.command(saga, input=given))
        reply = bench.reply(saga)
        assert (reply["outcome"], reply["error"]["code"]) == ("rejected", "bad_input"), given
    assert bench.points("alice") == 100


def test_a_compensate_gives_the_points_back_once(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga))
    bench.reply(saga)
    undoes = {"round": 1, "succeeded": True}
    for attempt in (1, 2):
        bench.send(bench.command(saga, "compensate", attempt=attempt, undoes=undoes))
        assert bench.reply(saga, "compensate", attempt)["outcome"] == "succeeded"
    bench.send(bench.command(saga, "compensate", round=2, undoes=undoes))
    assert bench.reply(saga, "compensate", round=2)["outcome"] == "succeeded"
    assert bench.points("alice") == 100


def test_a_compensate_that_comes_first_is_empty_and_its_execute_is_hanging(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga, "compensate"))
    assert bench.reply(saga, "compensate")["outcome"] == "succeeded"
    bench.send(bench.command(saga))
    reply = bench.reply(saga)
    assert (reply["outcome"], reply["error"]["code"]) == ("rejected", "hanging")
    assert bench.points("alice") == 100


def test_items_of_a_foreach_are_apart(bench):
    bench.start()
    saga = saga_id()
    for item in (0, 1):
        bench.send(bench.command(saga, item=item))
        reply = bench.reply(saga)
        assert (reply["outcome"], reply["item"]) == ("succeeded", item)
        assert reply["headers"]["ce_id"] == f"{saga}:spend_points.{item}:x1:1"
    assert bench.points("alice") == 40


def test_execute_and_compensate_at_once_give_both_in_order_or_neither(bench):
    bench.credit("alice", 100_000)
    bench.start()
    sagas = [saga_id() for _ in range(100)]
    for saga in sagas:
        for direction in ("execute", "compensate"):
            body = bench.command(saga, direction)
            headers = [("ce_type", "amends.command"), ("ce_replyto", f"{bench.inbox}/0")]
            bench.producer.produce(
                f"{bench.prefix}.points.{direction}", key=saga, value=json.dumps(body).encode(), headers=headers
            )
    assert bench.producer.flush(30) == 0
    for saga in sagas:
        execute, compensate = bench.reply(saga), bench.reply(saga, "compensate")
        assert compensate["outcome"] == "succeeded"
        assert execute["outcome"] == "succeeded" or execute["error"]["code"] == "hanging"
    assert bench.points("alice") == 100_100
    assert bench.sql("select count(*) from spending where not refunded") == [(0,)]


def test_kill_9_between_commit_and_reply_loses_nothing_and_repeats_nothing(bench):
    worker = bench.start()
    saga = saga_id()
    # The reply's topic does not exist, so the worker cannot be rid of the reply that it has committed.
    late = f"{bench.prefix}.late"
    bench.send(bench.command(saga), reply_to=f"{late}/0")
    until("the worker committed", lambda: bench.points("alice") == 70)
    bench.kill(worker)
    bench.create_topic(late, 1)
    reader = bench.records(late)
    assert reader.consume(1, timeout=1.0) == [], "the reply was not sent before the crash"
    bench.start()
    [record] = until("the stored reply", lambda: reader.consume(1, timeout=0.5))
    assert record.error() is None
    reply = json.loads(record.value())
    assert (reply["outcome"], reply["output"]) == ("succeeded", {"points_left": 70})
    assert bench.points("alice") == 70


def test_an_expired_execute_takes_the_row_and_does_nothing(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga, expires_at_ms=now_ms() - 1))
    assert bench.reply(saga)["error"]["code"] == "expired"
    bench.send(bench.command(saga, attempt=2))
    assert bench.reply(saga, attempt=2)["error"]["code"] == "expired"
    assert bench.points("alice") == 100


def test_a_compensate_does_not_expire(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga))
    bench.reply(saga)
    undoes = {"round": 1, "succeeded": True}
    bench.send(bench.command(saga, "compensate", undoes=undoes, expires_at_ms=now_ms() - 1))
    assert bench.reply(saga, "compensate")["outcome"] == "succeeded"
    assert bench.points("alice") == 100


def test_what_the_inbox_cannot_know_gets_no_final_answer(bench):
    bench.start()
    letters = bench.records(f"{bench.prefix}.dead-letters")
    lost, old, ancient = saga_id(), saga_id(), saga_id(now_ms() - 40 * DAY_MS)
    bench.send(bench.command(lost, "compensate", undoes={"round": 1, "succeeded": True}))
    bench.send(bench.command(old, first_sent_at_ms=now_ms() - 15 * DAY_MS))
    bench.send(bench.command(ancient, "compensate"))
    for saga, direction, code in [
        (lost, "compensate", "record_missing"),
        (old, "execute", "past_retention"),
        (ancient, "compensate", "past_retention"),
    ]:
        reply = bench.reply(saga, direction)
        assert (reply["outcome"], reply["error"]["code"]) == ("undecidable", code)
    found: set[str] = set()

    def all_kept():
        for record in letters.consume(10, timeout=0.5):
            found.add(record.key().decode())
        return found == {lost, old, ancient}

    until("each is a dead letter", all_kept)
    assert bench.sql("select count(*) from inbox") == [(0,)]
    # Nothing was recorded, so the late execute of the lost one is not taken for hanging.
    assert bench.points("alice") == 100


def test_poison_is_a_dead_letter_and_stops_nothing(bench):
    bench.start()
    letters = bench.records(f"{bench.prefix}.dead-letters")
    good = [("ce_type", "amends.command"), ("ce_replyto", f"{bench.inbox}/0")]
    bench.raw("execute", b"not json", "k", good)
    bench.raw("execute", b"[1]", "k", good)
    bench.raw("execute", json.dumps(bench.command(saga_id())).encode(), "k", [("ce_type", "amends.command")])
    bench.raw("execute", json.dumps(bench.command(saga_id(), "compensate")).encode(), "k", good)
    saga = saga_id()
    bench.send(bench.command(saga))
    assert bench.reply(saga)["outcome"] == "succeeded"
    kept: list[dict] = []

    def four():
        for record in letters.consume(10, timeout=0.5):
            kept.append({name: value.decode() for name, value in record.headers()})
        return len(kept) >= 4

    until("four dead letters", four)
    assert len(kept) == 4
    assert all(letter["amends_dead_worker"] == "points" and letter["amends_dead_reason"] for letter in kept)


def test_an_unknown_action_is_the_workers_own_trouble(bench):
    bench.start()
    saga = saga_id()
    bench.send(bench.command(saga, action="borrow"))
    reply = bench.reply(saga)
    assert (reply["outcome"], reply["uncharged"], reply["error"]["code"]) == ("retryable", True, "unknown_action")


def test_it_announces_itself_tells_progress_and_says_goodbye(bench):
    worker = bench.start()
    reader = bench.records(f"{bench.prefix}.workers")
    seen: list[dict] = []

    def said(condition):
        def there():
            seen.extend(json.loads(record.value()) for record in reader.consume(50, timeout=0.2))
            return any(condition(record) for record in seen)

        return there

    until("the announcement", said(lambda r: r["kind"] == "announcement" and r["actions"][0]["compensation"] == "refund_spend"))
    saga = saga_id()
    body = bench.command(saga)
    bench.send(body)
    bench.reply(saga)
    # Read to their ends: every partition of both topics has been reached, beyond the command.
    ends = {(f"{bench.prefix}.points.{d}", p) for d in ("execute", "compensate") for p in range(4)}
    until("progress of every partition", said(lambda _: ends <= {
        (r["topic"], r["partition"]) for r in seen if r["kind"] == "progress" and r["reached_ms"] >= body["sent_at_ms"]
    }))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    until("the goodbye", said(lambda r: r["kind"] == "announcement" and r["leaving"]))


def test_two_instances_share_the_work_and_one_takes_over(bench):
    first, _second = bench.start(), bench.start()
    bench.credit("alice", 10_000)
    sagas = [saga_id() for _ in range(60)]
    for saga in sagas[:30]:
        bench.send(bench.command(saga))
    bench.kill(first)
    for saga in sagas[30:]:
        bench.send(bench.command(saga))
    for saga in sagas:
        assert bench.reply(saga)["outcome"] == "succeeded"
    assert bench.points("alice") == 10_100 - 60 * 30
