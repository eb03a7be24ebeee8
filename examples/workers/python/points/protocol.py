"""The wire, as docs/protocol.md describes it: commands in, replies out. Knows no database."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

EXECUTE, COMPENSATE = "execute", "compensate"
OUTPUT_BYTES_MAX = 64 * 1024


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Poison(Exception):
    """The record is no command that can be understood: it goes to the dead letters."""


@dataclass(frozen=True)
class Command:
    """One sending of one round of a step, in one direction."""

    saga: uuid.UUID
    step: str
    item: int | None
    direction: str
    round: int
    attempt: int
    action: str
    undoes_round: int | None
    undoes_succeeded: bool
    first_sent_at_ms: int
    sent_at_ms: int
    expires_at_ms: int
    input: Any
    reply_topic: str
    reply_partition: int
    traceparent: str | None

    @property
    def execute_round(self) -> int:
        """The execute round whose barrier row this command belongs to."""
        return self.round if self.undoes_round is None else self.undoes_round

    @property
    def row_key(self) -> tuple[uuid.UUID, str, int, int]:
        return self.saga, self.step, -1 if self.item is None else self.item, self.execute_round

    @property
    def effect_key(self) -> str:
        item = "" if self.item is None else f".{self.item}"
        letter = "x" if self.direction == EXECUTE else "c"
        return f"{self.saga}:{self.step}{item}:{letter}{self.round}"

    @property
    def saga_started_ms(self) -> int | None:
        """Sagas' ids are UUIDv7: the first 48 bits are the time."""
        return self.saga.int >> 80 if self.saga.version == 7 else None


@dataclass(frozen=True)
class Answer:
    """What came of a command. `succeeded` and `rejected` are final."""

    outcome: str
    output: Any = None
    error: dict[str, str] | None = None
    uncharged: bool = False
    retry_after_ms: int | None = None

    @property
    def final(self) -> bool:
        return self.outcome in ("succeeded", "rejected")

    @property
    def stored(self) -> str:
        """What the barrier keeps beside the outcome."""
        return json.dumps(self.error if self.outcome == "rejected" else self.output)

    @staticmethod
    def kept(outcome: str, stored: str) -> Answer:
        value = json.loads(stored)
        return Answer(outcome, error=value) if outcome == "rejected" else Answer(outcome, output=value)


def succeeded(output: Any = None) -> Answer:
    if len(json.dumps(output).encode()) > OUTPUT_BYTES_MAX:
        # Before the commit: a success that cannot be said must not happen.
        return retryable("output_too_large", f"the output is larger than {OUTPUT_BYTES_MAX} bytes")
    return Answer("succeeded", output=output)


def rejected(code: str, message: str) -> Answer:
    return Answer("rejected", error={"code": code, "message": message[:1000]})


def retryable(code: str, message: str, uncharged: bool = False) -> Answer:
    return Answer("retryable", error={"code": code, "message": message[:1000]}, uncharged=uncharged)


def undecidable(code: str, message: str) -> Answer:
    return Answer("undecidable", error={"code": code, "message": message[:1000]})


def decode(headers: list[tuple[str, bytes]] | None, data: bytes | None) -> Command:
    """Reads a record of a command topic; fields that are not known are ignored."""
    try:
        named = {name: value.decode() for name, value in reversed(headers or []) if value is not None}
        if named.get("ce_type") != "amends.command":
            raise Poison(f"ce_type is {named.get('ce_type')!r}, not amends.command")
        topic, _, partition = named["ce_replyto"].rpartition("/")
        body = json.loads(data or b"")
        undoes = body.get("undoes")
        command = Command(
            saga=uuid.UUID(body["saga"]),
            step=body["step"],
            item=body.get("item"),
            direction=body["direction"],
            round=int(body["round"]),
            attempt=int(body["attempt"]),
            action=body["action"],
            undoes_round=int(undoes["round"]) if undoes else None,
            undoes_succeeded=bool(undoes and undoes["succeeded"]),
            first_sent_at_ms=int(body["first_sent_at_ms"]),
            sent_at_ms=int(body["sent_at_ms"]),
            expires_at_ms=int(body["expires_at_ms"]),
            input=body["input"],
            reply_topic=topic,
            reply_partition=int(partition),
            traceparent=named.get("traceparent"),
        )
    except Poison:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise Poison(f"{type(problem).__name__}: {problem}") from problem
    if not command.reply_topic or command.reply_partition < 0:
        raise Poison("ce_replyto must be <topic>/<partition>")
    if command.direction not in (EXECUTE, COMPENSATE):
        raise Poison(f"direction is {command.direction!r}")
    if (command.direction == COMPENSATE) != (command.undoes_round is not None):
        raise Poison("`undoes` must stand in a compensate and nowhere else")
    if command.round < 1 or command.attempt < 1:
        raise Poison("`round` and `attempt` count from 1")
    return command


def encode(command: Command, answer: Answer, worker: str) -> dict[str, Any]:
    """The reply, as the arguments of `Producer.produce`."""
    body: dict[str, Any] = {"saga": str(command.saga), "step": command.step}
    if command.item is not None:
        body["item"] = command.item
    body |= {
        "direction": command.direction,
        "round": command.round,
        "attempt": command.attempt,
        "outcome": answer.outcome,
    }
    if answer.output is not None:
        body["output"] = answer.output
    if answer.error is not None:
        body["error"] = answer.error
    if answer.uncharged:
        body["uncharged"] = True
    if answer.retry_after_ms is not None:
        body["retry_after_ms"] = answer.retry_after_ms
    now = now_ms()
    sent = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1000)) + f".{now % 1000:03}Z"
    headers = [
        ("ce_specversion", "1.0"),
        ("ce_type", "amends.reply"),
        ("ce_source", f"/workers/{worker}"),
        ("ce_id", f"{command.effect_key}:{command.attempt}"),
        ("ce_time", sent),
        ("content-type", "application/json"),
    ]
    if command.traceparent is not None:
        headers.append(("traceparent", command.traceparent))
    return {
        "topic": command.reply_topic,
        "partition": command.reply_partition,
        "key": str(command.saga),
        "headers": headers,
        "value": json.dumps(body),
    }
