"""The worker's promises, each on a real Kafka, a real Postgres and a real process."""

from __future__ import annotations

from conftest import saga_id

KNOWN_SUCCESS = {"round": 1, "succeeded": True}


def test_a_command_that_comes_twice_takes_effect_once(bench):
    saga = saga_id()
    first, second = bench.ask(saga), bench.ask(saga, attempt=2)
    assert first["outcome"] == second["outcome"] == "succeeded"
    assert first["output"] == second["output"] == {"booked": "room 7"}
    assert bench.standing(saga) == 1


def test_a_compensate_undoes_once(bench):
    saga = saga_id()
    bench.ask(saga)
    for attempt in (1, 2):
        reply = bench.ask(saga, "compensate", attempt, undoes=KNOWN_SUCCESS)
        assert reply["outcome"] == "succeeded"
    assert bench.standing(saga) == 0


def test_a_compensate_that_comes_first_is_empty_and_its_execute_does_nothing(bench):
    saga = saga_id()
    assert bench.ask(saga, "compensate")["outcome"] == "succeeded"
    reply = bench.ask(saga)
    assert (reply["outcome"], reply["error"]["code"]) == ("rejected", "hanging")
    assert bench.standing(saga) == 0


def test_a_crash_loses_nothing_and_repeats_nothing(bench):
    sagas = [saga_id() for _ in range(20)]
    for saga in sagas:
        bench.send(saga)
    bench.reply(sagas[0])
    bench.crash()
    bench.start()
    for saga in sagas[1:]:
        assert bench.reply(saga)["outcome"] == "succeeded"
    assert [bench.standing(saga) for saga in sagas] == [1] * len(sagas)


def test_input_that_makes_no_sense_is_rejected(bench):
    for given in [None, {}, {"subject": ""}, {"subject": 7}, {"subject": "a\0b"}]:
        reply = bench.ask(saga_id(), input=given)
        assert (reply["outcome"], reply["error"]["code"]) == ("rejected", "bad_input"), given
