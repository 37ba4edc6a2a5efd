"""What one would write without Taskmaster, in one process: ``benchmarks.postgres.by_hand
read|values DSN``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psycopg2
from psycopg2.extras import execute_values

PAGE = 10_000  # rows


def pages(connection: psycopg2.extensions.connection, columns: str) -> Iterator[list[tuple]]:
    """Page after page along the key."""
    last = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM comments WHERE id > %s ORDER BY id LIMIT {PAGE}", (last,))
            page = cursor.fetchall()
        connection.commit()
        if not page:
            return
        yield page
        last = page[-1][0]


def main(kind: str, dsn: str) -> None:
    """Read, or update."""
    connection = psycopg2.connect(dsn)
    if kind == "read":
        for page in pages(connection, "id, author_id, body"):
            for _ in page:
                pass
        return
    update = "UPDATE comments c SET author_name = v.name FROM (VALUES %s) AS v (id, name) WHERE c.id = v.id"
    for page in pages(connection, "id, author_id"):
        with connection.cursor() as cursor:
            execute_values(cursor, update, [(key, f"user {author}") for key, author in page], page_size=PAGE)
        connection.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
