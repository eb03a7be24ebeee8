"""`python -m __PACKAGE__`: runs the worker until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import resources

import psycopg

from .worker import Worker


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        database, bootstrap = os.environ["__ENV___DATABASE_URL"], os.environ["AMENDS_KAFKA"]
    except KeyError as missing:
        print(f"set {missing.args[0]}; see README.md", file=sys.stderr)
        return 2
    with psycopg.connect(database) as connection:
        # One at a time: `create table if not exists` of two starters can collide.
        connection.execute("select pg_advisory_xact_lock(7301)")
        for file in ("inbox.sql", "schema.sql"):
            connection.execute(resources.files(__package__).joinpath(file).read_text())
    worker = Worker(bootstrap, database, os.environ.get("AMENDS_TOPIC_PREFIX", "amends"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
