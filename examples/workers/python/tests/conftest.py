"""The live stack: a database, topics and worker processes of its own for each test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).parent.parent
DEADLINE_S = 60


def address(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f'{variable} is not set: run `make test`, or `eval "$(deploy/stack env)"` after `deploy/stack up`')
    return value


def until(what: str, holds, deadline_s: float = DEADLINE_S):
    """Polls until `holds()` is true and returns what it returned."""
    end = time.monotonic() + deadline_s
    while True:
        result = holds()
        if result:
            return result
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.02)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def saga_id(at_ms: int | None = None) -> str:
    """A UUIDv7."""
    at_ms = now_ms() if at_ms is None else at_ms
    value = (at_ms << 80) | (uuid.uuid4().int & ((1 << 80) - 1))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


class Bench:
    """Plays the orchestrator against real worker processes."""

    def __init__(self, bootstrap: str, database: str) -> None:
        self.bootstrap, self.database = bootstrap, database
        self.prefix = f"py{uuid.uuid4().hex[:12]}"
        self.inbox = f"{self.prefix}.inbox"
        self.workers: list[subprocess.Popen] = []
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.create_topic(self.inbox, 2)
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.consumer = self._reader(self.inbox, 2)
        self.replies: list[dict] = []
        self.readers = [self.consumer]

    def create_topic(self, name: str, partitions: int) -> None:
        self.admin.create_topics([NewTopic(name, partitions, -1)])[name].result()

    def _reader(self, topic: str, partitions: int) -> Consumer:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        return consumer

    def records(self, topic: str, partitions: int = 1) -> Consumer:
        reader = self._reader(topic, partitions)
        self.readers.append(reader)
        return reader

    def start(self) -> subprocess.Popen:
        env = os.environ | {
            "AMENDS_KAFKA": self.bootstrap,
            "AMENDS_TOPIC_PREFIX": self.prefix,
            "POINTS_DATABASE_URL": self.database,
        }
        worker = subprocess.Popen([sys.executable, "-B", "-m", "points"], cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
        self.workers.append(worker)
        topics = f"{self.prefix}.points.execute", f"{self.prefix}.points.compensate"

        def made():
            assert worker.poll() is None, "the worker ended early"
            return set(topics) <= set(self.admin.list_topics(timeout=5).topics)

        until("the worker made its topics", made)
        return worker

    def kill(self, worker: subprocess.Popen) -> None:
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def credit(self, customer: str, points: int) -> None:
        env = os.environ | {"POINTS_DATABASE_URL": self.database}
        command = [sys.executable, "-B", "-m", "points", "credit", customer, str(points)]
        subprocess.run(command, cwd=ROOT, env=env, check=True, stdin=subprocess.DEVNULL)

    def sql(self, statement: str, *values):
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

    def points(self, customer: str) -> int:
        return self.sql("select points from account where customer = %s", customer)[0][0]

    def command(self, saga: str, direction: str = "execute", **changes) -> dict:
        body = {
            "saga": saga,
            "definition": "test",
            "step": "spend_points",
            "direction": direction,
            "round": 1,
            "attempt": 1,
            "action": "spend" if direction == "execute" else "refund_spend",
            "first_sent_at_ms": now_ms(),
            "sent_at_ms": now_ms(),
            "expires_at_ms": now_ms() + 3_600_000,
            "input": {"customer_id": "alice", "points": 30},
        }
        if direction == "compensate":
            body["undoes"] = {"round": 1, "succeeded": False}
        return body | changes

    def send(self, body: dict, reply_to: str | None = None, **headers: str) -> None:
        item = f".{body['item']}" if "item" in body else ""
        letter = "x" if body["direction"] == "execute" else "c"
        named = {
            "ce_specversion": "1.0",
            "ce_type": "amends.command",
            "ce_source": "/amends",
            "ce_id": f"{body['saga']}:{body['step']}{item}:{letter}{body['round']}:{body['attempt']}",
            "ce_time": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "content-type": "application/json",
            "ce_replyto": reply_to or f"{self.inbox}/1",
        } | headers
        self.raw(body["direction"], json.dumps(body).encode(), body["saga"], list(named.items()))

    def raw(self, direction: str, data: bytes, key: str, headers: list[tuple[str, str]]) -> None:
        self.producer.produce(f"{self.prefix}.points.{direction}", key=key, value=data, headers=headers)
        assert self.producer.flush(30) == 0

    def reply(self, saga: str, direction: str = "execute", attempt: int = 1, round: int = 1) -> dict:
        """Waits for the reply to one attempt; takes it."""

        def there():
            self.read()
            for reply in self.replies:
                if (reply["saga"], reply["direction"], reply["attempt"], reply["round"]) == (saga, direction, attempt, round):
                    self.replies.remove(reply)
                    return reply
            return None

        return until(f"a reply to {direction} {round}/{attempt} of {saga}", there)

    def read(self) -> None:
        for record in self.consumer.consume(500, timeout=0.1):
            assert record.error() is None, record.error()
            headers = {name: value.decode() for name, value in record.headers()}
            body = json.loads(record.value())
            self.replies.append(body | {"headers": headers, "key": record.key().decode(), "partition": record.partition()})

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                self.kill(worker)
        for reader in self.readers:
            reader.close()
        topics = [name for name in self.admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        for result in self.admin.delete_topics(topics).values():
            result.result()


@pytest.fixture
def bench():
    server, bootstrap = address("AMENDS_TEST_DATABASE_URL"), address("AMENDS_TEST_KAFKA")
    name = f"points_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name} template template0")
    bench = Bench(bootstrap, f"{server.rsplit('/', 1)[0]}/{name}")
    try:
        bench.credit("alice", 100)
        yield bench
    finally:
        bench.close()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")
