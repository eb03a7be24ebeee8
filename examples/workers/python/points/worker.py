"""The process: reads both command topics, answers, and says how far it has come.

The order that everything rests on: the transaction commits, then the reply is acknowledged by the
broker, then the offset is committed. Whatever dies in between, the command comes again and meets
the barrier.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from . import NAME, VERSION, barrier
from .actions import ANNOUNCED, HANDLERS
from .protocol import COMPENSATE, EXECUTE, Answer, Command, Poison, decode, encode, now_ms, retryable

log = logging.getLogger(NAME)

BATCH_MAX = 200
ANNOUNCE_S = 5
PROGRESS_S = 1
PRUNE_S = 600
REPLY_TIMEOUT_S = 60
# Senders' clocks differ: a claim of progress stays this much behind the newest command.
CLOCKS_MS = 1_000


class Worker:
    """Runs until `stop`, or until a direction fails: then the process ends and is started anew."""

    def __init__(self, bootstrap: str, database: str, prefix: str) -> None:
        self.bootstrap, self.database, self.prefix = bootstrap, database, prefix
        self.instance = str(uuid.uuid4())
        self.stopping = threading.Event()
        self.failed = False
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                # As Kafka's own clients do; librdkafka's default is another one.
                "partitioner": "murmur2_random",
            }
        )

    def stop(self) -> None:
        self.stopping.set()

    def run(self) -> int:
        self._ensure_topics()
        threads = [threading.Thread(target=self._guarded, args=(d,), name=d) for d in (EXECUTE, COMPENSATE)]
        for thread in threads:
            thread.start()
        while not self.stopping.is_set():
            self._announce()
            self.stopping.wait(ANNOUNCE_S)
        for thread in threads:
            thread.join()
        self._announce(leaving=True)
        self.producer.flush(5)
        return 1 if self.failed else 0

    def _guarded(self, direction: str) -> None:
        try:
            Side(self, direction).run()
        except Exception:
            log.exception("%s stopped", direction)
            self.failed = True
        finally:
            self.stop()

    def _ensure_topics(self) -> None:
        day = 24 * 3_600_000
        wanted = [(f"{self.prefix}.{NAME}.{d}", 4, {"retention.ms": str(7 * day)}) for d in (EXECUTE, COMPENSATE)]
        wanted.append((f"{self.prefix}.workers", 1, {"cleanup.policy": "compact"}))
        wanted.append((f"{self.prefix}.dead-letters", 1, {"retention.ms": str(30 * day)}))
        topics = [NewTopic(name, partitions, -1, config=config) for name, partitions, config in wanted]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for name, result in admin.create_topics(topics).items():
            try:
                result.result()
            except KafkaException as problem:
                if problem.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise RuntimeError(f"topic {name}: {problem}") from problem

    def _announce(self, leaving: bool = False) -> None:
        self.tell(
            f"announcement/{NAME}/{self.instance}",
            {
                "kind": "announcement",
                "worker": NAME,
                "instance": self.instance,
                "version": VERSION,
                "actions": ANNOUNCED,
                "retention_ms": barrier.RETENTION_MS,
                "at_ms": now_ms(),
                "leaving": leaving,
            },
        )

    def tell(self, key: str, record: dict) -> None:
        """A record of the workers' topic; repeated soon, so nothing waits for it."""
        self.producer.produce(f"{self.prefix}.workers", key=key, value=json.dumps(record))
        self.producer.poll(0)


class Side:
    """One direction: a consumer, a database connection and a thread of its own, so that a
    compensate never waits behind executes."""

    def __init__(self, worker: Worker, direction: str) -> None:
        self.worker, self.direction = worker, direction
        self.topic = f"{worker.prefix}.{NAME}.{direction}"
        self.connection: psycopg.Connection | None = None
        self.reached: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.consumer = Consumer(
            {
                "bootstrap.servers": worker.bootstrap,
                "group.id": self.topic,
                "enable.auto.commit": False,
                # Offsets that the log does not have any more: read what it has, the barrier answers.
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                # A worker that died is replaced after this; the default is 45 s.
                "session.timeout.ms": 10_000,
            }
        )

    def run(self) -> None:
        self.consumer.subscribe([self.topic], on_revoke=self._forget, on_lost=self._forget)
        next_progress = next_prune = 0.0
        try:
            while not self.worker.stopping.is_set():
                records = self.consumer.consume(BATCH_MAX, timeout=0.2)
                good = []
                for record in records:
                    problem = record.error()
                    if problem is None:
                        good.append(record)
                    elif problem.fatal():
                        raise KafkaException(problem)
                    else:
                        log.warning("%s: %s", self.topic, problem)
                if good:
                    self._work(good)
                if time.monotonic() >= next_progress:
                    next_progress = time.monotonic() + PROGRESS_S
                    self._tell_progress()
                if self.direction == EXECUTE and time.monotonic() >= next_prune:
                    next_prune = time.monotonic() + PRUNE_S
                    self._in_transaction(barrier.prune)
        finally:
            self.consumer.close()
            if self.connection is not None:
                self.connection.close()

    def _work(self, records: list) -> None:
        """Answers the records; returns once the broker has every answer, then commits the offsets."""
        undelivered: list[str] = []

        def delivered(problem, _record) -> None:
            if problem is not None:
                undelivered.append(str(problem))

        sending: list[dict] = []
        times: dict[int, int] = {}
        for record in records:
            try:
                command = decode(record.headers(), record.value())
                if command.direction != self.direction:
                    raise Poison(f"direction is {command.direction}, the topic is {self.topic}")
            except Poison as problem:
                log.error("dead letter at %s/%d@%d: %s", record.topic(), record.partition(), record.offset(), problem)
                sending.append(self._dead_letter(record, str(problem)))
                continue
            result = self._answer(command)
            log.debug("%s attempt %d: %s", command.effect_key, command.attempt, result.outcome)
            if result.outcome == "undecidable":
                sending.append(self._dead_letter(record, f"{result.error['code']}: {result.error['message']}"))
            sending.append(encode(command, result, NAME))
            times[record.partition()] = command.sent_at_ms
        producer = self.worker.producer
        for message in sending:
            producer.produce(**message, on_delivery=delivered)
        if producer.flush(REPLY_TIMEOUT_S) > 0 or undelivered:
            # The offsets stay, so the commands come again, to the next process.
            raise RuntimeError(f"replies were not acknowledged: {undelivered or 'timeout'}")
        ends = {record.partition(): record.offset() + 1 for record in records}
        try:
            self.consumer.commit(
                offsets=[TopicPartition(self.topic, partition, offset) for partition, offset in ends.items()],
                asynchronous=False,
            )
        except KafkaException as problem:
            # The partition went to another member, who will meet the barrier.
            log.warning("offsets were not committed: %s", problem)
        for partition, sent_at_ms in times.items():
            self.reached[partition] = max(sent_at_ms - CLOCKS_MS, self.reached.get(partition, 0))

    def _answer(self, command: Command) -> Answer:
        handler = HANDLERS.get((command.direction, command.action))
        if handler is None:
            return retryable("unknown_action", f"this worker has no {command.direction} action `{command.action}`", uncharged=True)

        # `Rollback` swallows the answer, so it is carried past it.
        answers: list[Answer] = []

        def carried(connection: psycopg.Connection) -> None:
            result = barrier.answer(connection, command, handler)
            answers.append(result)
            if not result.final:
                raise psycopg.Rollback()

        try:
            self._in_transaction(carried)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except (psycopg.DataError, psycopg.IntegrityError) as problem:
            log.warning("%s: %s", command.effect_key, problem)
            return retryable("bad_data", f"{type(problem).__name__}: {problem}")
        except Exception as problem:
            # A bug of this worker's: it burns no budget, and alarms.
            log.exception("%s failed", command.effect_key)
            return retryable("worker_trouble", f"{type(problem).__name__}: {problem}", uncharged=True)
        return answers[-1]

    def _in_transaction(self, work: Callable[[psycopg.Connection], object]) -> None:
        """Runs `work` in a transaction, again on a new connection when the old one breaks: the
        barrier makes that safe even if the broken one had committed."""
        pause_s = 0.1
        while True:
            try:
                if self.connection is None or self.connection.closed:
                    self.connection = psycopg.connect(self.worker.database, autocommit=True)
                with self.connection.transaction():
                    work(self.connection)
                return
            except (psycopg.OperationalError, psycopg.InterfaceError) as problem:
                if self.worker.stopping.is_set():
                    raise
                log.warning("database: %s; trying again", problem)
                if self.connection is not None:
                    self.connection.close()
                self.worker.stopping.wait(pause_s)
                pause_s = min(pause_s * 2, 5.0)

    def _dead_letter(self, record, reason: str) -> dict:
        headers = list(record.headers() or [])
        headers += [
            ("amends_dead_reason", reason[:1000]),
            ("amends_dead_worker", NAME),
            ("amends_dead_topic", record.topic()),
            ("amends_dead_partition", str(record.partition())),
            ("amends_dead_offset", str(record.offset())),
        ]
        return {
            "topic": f"{self.worker.prefix}.dead-letters",
            "key": record.key(),
            "value": record.value(),
            "headers": headers,
        }

    def _tell_progress(self) -> None:
        for position in self.consumer.position(self.consumer.assignment()):
            # Before the look: what comes in meanwhile is later than the claim.
            looked_at_ms = now_ms()
            try:
                low, high = self.consumer.get_watermark_offsets(position, timeout=2, cached=False)
            except KafkaException as problem:
                log.warning("watermarks: %s", problem)
                continue
            offset = position.offset
            if offset < 0:
                # Nothing was read since the assignment: what is committed counts.
                offset = self.consumer.committed([position], timeout=2)[0].offset
            if offset >= high or low == high:
                self.reached[position.partition] = looked_at_ms - CLOCKS_MS
            reached = self.reached.get(position.partition)
            if reached is not None and reached != self.told.get(position.partition):
                self.told[position.partition] = reached
                self.worker.tell(
                    f"progress/{self.topic}/{position.partition}",
                    {
                        "kind": "progress",
                        "topic": self.topic,
                        "partition": position.partition,
                        "reached_ms": reached,
                        "at_ms": now_ms(),
                    },
                )

    def _forget(self, _consumer, partitions) -> None:
        # Another member speaks for them from now on.
        for partition in partitions:
            self.reached.pop(partition.partition, None)
            self.told.pop(partition.partition, None)
