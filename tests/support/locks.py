"""A table that somebody else holds, so that whoever reads it has to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2


@contextmanager
def locked(dsn: str, table: str, until: Callable[[], object] | None = None) -> Iterator[None]:
    """Nobody reads the table: as long as the block runs, or until something is true, which is
    looked for meanwhile.
    """
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        if until is None:
            yield
            return

        def let_go() -> None:
            deadline = time.monotonic() + 60.0
            while not until() and time.monotonic() < deadline:
                time.sleep(0.02)
            connection.rollback()

        waits = threading.Thread(target=let_go)
        waits.start()
        try:
            yield
        finally:
            waits.join()
