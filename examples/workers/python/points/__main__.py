"""`python -m points`: runs the worker. `python -m points credit CUSTOMER POINTS`: gives points."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import resources

import psycopg

from .worker import Worker


def main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        database = os.environ["POINTS_DATABASE_URL"]
        bootstrap = os.environ["AMENDS_KAFKA"] if not arguments else ""
    except KeyError as missing:
        print(f"set {missing.args[0]}; see README.md", file=sys.stderr)
        return 2
    with psycopg.connect(database) as connection:
        # One at a time: `create table if not exists` of two starters can collide.
        connection.execute("select pg_advisory_xact_lock(7301)")
        for file in ("inbox.sql", "schema.sql"):
            connection.execute(resources.files(__package__).joinpath(file).read_text())
    if arguments:
        if len(arguments) != 3 or arguments[0] != "credit":
            print(__doc__, file=sys.stderr)
            return 2
        with psycopg.connect(database) as connection:
            connection.execute(
                "insert into account values (%s, %s) on conflict (customer) do update set points = account.points + excluded.points",
                (arguments[1], int(arguments[2])),
            )
        return 0
    worker = Worker(bootstrap, database, os.environ.get("AMENDS_TOPIC_PREFIX", "amends"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
