"""The workload on DBOS, and its load: one process of several.

Workflows are called in threads of this process, which is the cheapest way in: no queue, no network, no second
process. Reads `run STEM FIRST SAGAS IN_FLIGHT` lines and answers each with a line of JSON.
"""

import json
import os
import sys
import threading
import time

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, SetWorkflowID, SQLAlchemyDatasource

APP_URL = os.environ["PEER_DATABASE_URL"]
POOL_SIZE = int(os.environ["PEER_POOL_SIZE"])
SKUS = int(os.environ["PEER_SKUS"])
VARIANT = os.environ["PEER_VARIANT"]

config: DBOSConfig = {
    "name": "checkout",
    "system_database_url": os.environ["PEER_SYSTEM_DATABASE_URL"],
    "sys_db_pool_size": POOL_SIZE,
    "executor_id": os.environ["PEER_EXECUTOR"],
    "application_version": "1",
    "log_level": "WARNING",
}
DBOS(config=config)

# Effects in autocommit or in DBOS's transaction, through the same driver and a pool of the same size.
POOL = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": 60}

if VARIANT == "datasource":
    # The effect and the record of its step are one commit.
    source = SQLAlchemyDatasource.create(APP_URL, engine_kwargs=POOL)

    def step(function):
        return source.transaction(isolation_level="READ COMMITTED")(function)

    def call(statement, **parameters):
        return source.sql_session().execute(statement, parameters).scalar()

else:
    # The effect is a commit of its own, and safe to repeat; DBOS records the step afterwards.
    url = sa.make_url(APP_URL).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", **POOL)

    def step(function):
        return DBOS.step()(function)

    def call(statement, **parameters):
        with engine.connect() as connection:
            return connection.execute(statement, parameters).scalar()


CREATE = sa.text("select orders.create_order(:order_id, :sku, :quantity, :unit_price)")
CANCEL = sa.text("select orders.cancel_order(:order_id)")
RESERVE = sa.text("select stock.reserve(:order_id, :sku, :quantity)")
RELEASE = sa.text("select stock.release(:order_id)")
DECIDE = sa.text("select payment.decide(:order_id, :amount, :reject)")


@step
def create_order(order_id: str, sku: str) -> None:
    call(CREATE, order_id=order_id, sku=sku, quantity=1, unit_price=1000)


@step
def cancel_order(order_id: str) -> None:
    call(CANCEL, order_id=order_id)


@step
def reserve_stock(order_id: str, sku: str) -> None:
    call(RESERVE, order_id=order_id, sku=sku, quantity=1)


@step
def release_stock(order_id: str) -> None:
    call(RELEASE, order_id=order_id)


@step
def pay(order_id: str, reject: bool) -> bool:
    return call(DECIDE, order_id=order_id, amount=1000, reject=reject)


@DBOS.workflow()
def checkout(order_id: str, sku: str, reject: bool) -> str:
    create_order(order_id, sku)
    reserve_stock(order_id, sku)
    if pay(order_id, reject):
        return "completed"
    release_stock(order_id)
    cancel_order(order_id)
    return "compensated"


def run(stem: str, first: int, sagas: int, in_flight: int) -> dict:
    numbers = iter(range(first, first + sagas))
    lock = threading.Lock()
    outcomes: list[tuple[float, str]] = []
    other: list[str] = []

    def worker() -> None:
        # What ends otherwise fails the run: there is no use in going on.
        while not other:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            began = time.perf_counter()
            try:
                with SetWorkflowID(f"{stem}-{n}"):
                    word = checkout(f"{stem}-{n}", f"s{n % SKUS}", n % 10 == 9)
            except Exception as error:  # an outcome like any other: the run fails with its words
                word = repr(error)
                other.append(word)
            outcomes.append(((time.perf_counter() - began) * 1_000, word))

    threads = [threading.Thread(target=worker) for _ in range(in_flight)]
    started = time.time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = time.time()
    words = [word for _, word in outcomes]
    return {
        "started": started,
        "ended": ended,
        "ms": [ms for ms, _ in outcomes],
        "completed": words.count("completed"),
        "compensated": words.count("compensated"),
        "other": len(other),
        "example": other[0] if other else None,
    }


def main() -> None:
    DBOS.launch()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        stem, first, sagas, in_flight = line.split()[1:]
        print(json.dumps(run(stem, int(first), int(sagas), int(in_flight))), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
