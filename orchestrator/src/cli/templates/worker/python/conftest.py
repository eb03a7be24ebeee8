"""The live stack: a database, topics and a worker process of its own for each test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from __PACKAGE__ import NAME
from __PACKAGE__.protocol import now_ms

ROOT = Path(__file__).parent.parent
DEADLINE_S = 60


def address(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f"{variable} is not set; see README.md")
    return value


def until(what: str, holds):
    """Polls until `holds()` is true and returns what it returned."""
    end = time.monotonic() + DEADLINE_S
    while True:
        result = holds()
        if result:
            return result
        assert time.monotonic() < end, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.02)


def saga_id() -> str:
    """A UUIDv7."""
    value = (now_ms() << 80) | (uuid.uuid4().int & ((1 << 80) - 1))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


class Bench:
    """Plays the orchestrator."""

    def __init__(self, bootstrap: str, database: str) -> None:
        self.bootstrap, self.database = bootstrap, database
        self.prefix = f"test{uuid.uuid4().hex[:12]}"
        self.inbox = f"{self.prefix}.inbox"
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.admin.create_topics([NewTopic(self.inbox, 1, -1)])[self.inbox].result()
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": self.prefix, "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(self.inbox, 0, 0)])
        self.replies: list[dict] = []
        self.worker: subprocess.Popen | None = None

    def start(self) -> None:
        env = os.environ | {
            "AMENDS_KAFKA": self.bootstrap,
            "AMENDS_TOPIC_PREFIX": self.prefix,
            "__ENV___DATABASE_URL": self.database,
        }
        self.worker = subprocess.Popen([sys.executable, "-B", "-m", "__PACKAGE__"], cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
        topics = {f"{self.prefix}.{NAME}.{direction}" for direction in ("execute", "compensate")}

        def made():
            assert self.worker.poll() is None, "the worker ended early"
            return topics <= set(self.admin.list_topics(timeout=5).topics)

        until("the worker made its topics", made)

    def crash(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()

    def send(self, saga: str, direction: str = "execute", attempt: int = 1, **changes) -> None:
        body = {
            "saga": saga,
            "definition": "test",
            "step": "book",
            "direction": direction,
            "round": 1,
            "attempt": attempt,
            "action": "book" if direction == "execute" else "cancel_booking",
            "first_sent_at_ms": now_ms(),
            "sent_at_ms": now_ms(),
            "expires_at_ms": now_ms() + 3_600_000,
            "input": {"subject": "room 7"},
        }
        if direction == "compensate":
            body["undoes"] = {"round": 1, "succeeded": False}
        headers = [("ce_type", "amends.command"), ("ce_replyto", f"{self.inbox}/0")]
        value = json.dumps(body | changes).encode()
        self.producer.produce(f"{self.prefix}.{NAME}.{direction}", key=saga, value=value, headers=headers)
        assert self.producer.flush(30) == 0

    def reply(self, saga: str, direction: str = "execute", attempt: int = 1) -> dict:
        """Waits for the reply to one attempt; takes it."""

        def there():
            for record in self.consumer.consume(100, timeout=0.1):
                assert record.error() is None, record.error()
                self.replies.append(json.loads(record.value()))
            for reply in self.replies:
                if (reply["saga"], reply["direction"], reply["attempt"]) == (saga, direction, attempt):
                    self.replies.remove(reply)
                    return reply
            return None

        return until(f"a reply to {direction} attempt {attempt} of {saga}", there)

    def ask(self, saga: str, direction: str = "execute", attempt: int = 1, **changes) -> dict:
        self.send(saga, direction, attempt, **changes)
        return self.reply(saga, direction, attempt)

    def standing(self, saga: str) -> int:
        """How many bookings of a saga stand."""
        with psycopg.connect(self.database) as connection:
            asked = "select count(*) from booking where saga = %s and not cancelled"
            return connection.execute(asked, (saga,)).fetchone()[0]

    def close(self) -> None:
        self.crash()
        self.consumer.close()
        topics = [name for name in self.admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        for result in self.admin.delete_topics(topics).values():
            result.result()


@pytest.fixture
def bench():
    server, bootstrap = address("AMENDS_TEST_DATABASE_URL"), address("AMENDS_TEST_KAFKA")
    name = f"__IDENT___{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name} template template0")
    bench = Bench(bootstrap, f"{server.rsplit('/', 1)[0]}/{name}")
    try:
        bench.start()
        yield bench
    finally:
        bench.close()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")
