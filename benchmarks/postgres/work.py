"""The user's module of the measurements on PostgreSQL: what to do with which rows is in the
environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from psycopg2.extras import execute_values

from taskmaster import postgres

DSN = os.environ["BENCH_DSN"]
TABLE = os.environ.get("BENCH_TABLE", "comments")
KIND = os.environ["BENCH_KIND"]
ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
TARGET = float(os.environ["BENCH_TARGET"]) if "BENCH_TARGET" in os.environ else None
THINK = float(os.environ.get("BENCH_THINK", "0"))  # times as long as a range took that is slept then
LOG = os.environ.get("BENCH_LOG")  # the folder in which is written how many rows were done by when

UPDATE = "UPDATE comments c SET author_name = u.name FROM users u WHERE u.id = c.author_id AND "
VALUES = "UPDATE comments c SET author_name = v.name FROM (VALUES %s) AS v (id, name) WHERE c.id = v.id"


def get_jobs() -> Any:
    """The rows, or ranges of them."""
    if KIND == "ranges":
        return postgres.ranges(DSN, TABLE, rows=ROWS, target=TARGET)
    columns = {"read": ["id", "author_id", "body"], "values": ["id", "author_id"], "keys": None}[KIND]
    return postgres.rows(DSN, TABLE, columns=columns)


if KIND == "values":

    def handle_jobs(rows: list[tuple[int, int]]) -> None:
        """Name the authors of a batch of rows."""
        with postgres.connect(DSN) as connection, connection.cursor() as cursor:
            execute_values(cursor, VALUES, [(key, f"user {author}") for key, author in rows], page_size=10_000)

elif KIND == "ranges":

    def handle_job(comments: Any) -> None:
        """Name the authors of a range of rows."""
        with postgres.connect(DSN) as connection, connection.cursor() as cursor:
            began = time.monotonic()
            cursor.execute(UPDATE + comments.where("c.id"), comments.values)
            rows = cursor.rowcount
        if LOG is not None:
            with (Path(LOG) / f"rows-{os.getpid()}").open("a", encoding="ascii") as file:
                file.write(f"{time.time():.4f} {rows}\n")
        time.sleep(THINK * (time.monotonic() - began))

else:

    def handle_job(row: Any) -> None:
        """Nothing."""
