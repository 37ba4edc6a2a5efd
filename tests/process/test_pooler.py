"""A real run through a real pooler that deals out transactions, by psycopg 3 with its default
settings.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.pgbouncer import Pooler, pooler
from support.playground import Playground
from support.postgres_server import Server

MODULE = """
import os, psycopg
from taskmaster import postgres

def dsn():
    return psycopg.connect(os.environ["TEST_DSN"])

get_jobs = {source}

def {callback}:
    with postgres.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute({statement})
"""
KINDS = {
    "rows": (
        "postgres.rows(dsn, 'p', chunk=50)",
        "handle_jobs(ids)",
        '"UPDATE p SET n = n + 1 WHERE id = ANY(%s)", (list(ids),)',
    ),
    "ranges": (
        "postgres.ranges(dsn, 'p', rows=20, target=None)",
        "handle_job(part)",
        'f"UPDATE p SET n = n + 1 WHERE {part.where()}", part.values',
    ),
}


@pytest.fixture(scope="module")
def pooled(postgres: Server) -> Iterator[Pooler]:
    """Give a pooler with fewer sessions than the run has connections."""
    with pooler(postgres, sessions=3) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_by_psycopg_3_through_a_pooler_is_whole(
    postgres: Server, pooled: Pooler, playground: Playground, kind: str
) -> None:
    """No attempt fails, although each transaction may be in another session than the one before."""
    name = f"pooled_{kind}"
    postgres.execute(f"CREATE DATABASE {name}")
    postgres.execute("CREATE TABLE p (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)", database=name)
    postgres.execute("INSERT INTO p SELECT n FROM generate_series(1, 2000) n", database=name)
    source, callback, statement = KINDS[kind]
    playground.write("work.py", MODULE.format(source=source, callback=callback, statement=statement))
    words = ["--progress=lines", "--retries=0", "--batch=10"]
    run = playground.start("tm-run", "work.py", "4", *words, TEST_DSN=pooled.dsn(name))

    assert run.end() == 0, run.output
    assert "tried again" not in run.output
    assert postgres.execute("SELECT n, count(*) FROM p GROUP BY 1", database=name) == [(1, 2000)]
