"""Behind a pooler that deals out transactions: each of them may be in another session than the one
before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import psycopg2
import pytest
from support.pgbouncer import Pooler, find_pgbouncer, pooler
from support.postgres_server import Server, server

from taskmaster import postgres
from taskmaster.postgres import guards
from taskmaster.postgres.probe import DatabaseProbe
from taskmaster.postgres.statements import SourceConnection

DRIVERS: dict[str, Callable[[str], Any]] = {
    "dsn": lambda dsn: dsn,
    "psycopg2": lambda dsn: lambda: psycopg2.connect(dsn),
    "psycopg": lambda dsn: lambda: psycopg.connect(dsn),
}
SESSIONS = 3  # of the server, dealt out in turn: master and worker, who alternate, meet all of them


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """Give a server of these tests' own, which they may restart."""
    with server() as running:
        yield running


@pytest.fixture(scope="module")
def pooled(own: Server) -> Iterator[Pooler]:
    """Give a pooler before it, with some sessions for all."""
    with pooler(own, SESSIONS) as running:
        yield running


@pytest.fixture
def table(own: Server) -> int:
    """Give a table of the server, and how many rows it has."""
    own.execute("DROP TABLE IF EXISTS p; CREATE TABLE p (id int PRIMARY KEY, at date, n int NOT NULL DEFAULT 0)")
    own.execute("INSERT INTO p SELECT n, '2024-02-29' FROM generate_series(1, 300) n; ANALYZE p")
    return 300


def busy(pooled: Pooler) -> Callable[[], None]:
    """Have all sessions, of which the pooler makes no more than it needs, in use; gives what lets
    go of them.
    """
    taken = [psycopg2.connect(pooled.dsn()) for _ in range(SESSIONS)]
    for one in taken:
        one.cursor().execute("SELECT 1")

    def let_go() -> None:
        for one in taken:
            one.commit()  # of a client that leaves in a transaction, the session is ended
            one.close()

    return let_go


@pytest.mark.slow
@pytest.mark.parametrize("source", ["rows", "ranges"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_transaction_may_be_in_another_session(
    own: Server, pooled: Pooler, table: int, driver: str, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the master's and of a worker's, more often than psycopg 3 needs to prepare a statement."""
    dsn = DRIVERS[driver](pooled.dsn())
    sessions = set()
    busy(pooled)()
    made = (
        postgres.rows(dsn, "p", columns=["id", "at"], chunk=20)
        if source == "rows"
        else postgres.ranges(dsn, "p", rows=20, target=None)
    )
    with closing(made), caplog.at_level(logging.WARNING, "taskmaster"):
        for job in made.iterate(None):
            with postgres.connect(dsn) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                sessions.add(cursor.fetchone()[0])
                if source == "rows":
                    cursor.execute("UPDATE p SET n = n + 1, at = %s WHERE id = %s", (job[1], job[0]))
                else:
                    part = job.payload
                    cursor.execute(f"UPDATE p SET n = n + 1 WHERE {part.where()}", part.values)

    assert own.execute("SELECT n, count(*) FROM p GROUP BY 1") == [(1, table)]
    assert len(sessions) >= 2
    assert caplog.text == ""


@pytest.mark.slow
def test_guards_leave_no_setting_to_the_next_client(pooled: Pooler, own: Server) -> None:
    """Nor do the master and the probe: what they set is gone with their transaction."""
    with (
        closing(guards.locks_waiting(1000, pooled.dsn())) as guard,
        closing(SourceConnection(pooled.dsn())) as reading,
        closing(DatabaseProbe(pooled.dsn())) as probe,
    ):
        for _ in range(4):
            assert guard() == ""
            reading.fetch("SELECT 1")
            assert probe() > 0
            assert probe.sessions() is not None
    asked = "SELECT current_setting('statement_timeout'), current_setting('extra_float_digits')"
    with closing(psycopg2.connect(pooled.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for _ in range(4):
                cursor.execute(asked)
                assert cursor.fetchall() == own.execute(asked)


def killed(pooled: Pooler, own: Server) -> None:
    """The pooler dies, and comes back."""
    pooled.kill()
    pooled.start()


def dropped(pooled: Pooler, own: Server) -> None:
    """The pooler ends all of a database's connections, and takes new ones."""
    pooled.admin("KILL postgres")
    pooled.admin("RESUME postgres")


def restarted(pooled: Pooler, own: Server) -> None:
    """The server crashes behind the pooler."""
    own.restart("immediate")


def ended(pooled: Pooler, own: Server) -> None:
    """Somebody ends the sessions behind it."""
    own.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", [killed, dropped, restarted, ended])
@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_lost_behind_a_pooler_costs_no_row(
    own: Server, pooled: Pooler, table: int, driver: str, what: Callable[[Pooler, Server], None]
) -> None:
    """In whatever words the pooler says so."""
    seen = []
    with closing(postgres.rows(DRIVERS[driver](pooled.dsn()), "p", chunk=50)) as source:
        for key in source.iterate(None):
            seen.append(key)
            if key == 150:
                what(pooled, own)

    assert seen == list(range(1, table + 1))


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_pool_that_is_full_is_waited_for(
    own: Server, pooled: Pooler, table: int, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pooler gives up on a client after a while; the next attempt waits again."""
    let_go = busy(pooled)

    def let_go_when_it_waits() -> None:
        while "tried again" not in caplog.text:
            time.sleep(0.02)
        let_go()

    lets_go = threading.Thread(target=let_go_when_it_waits, daemon=True)
    with (
        caplog.at_level(logging.WARNING, "taskmaster"),
        closing(SourceConnection(DRIVERS[driver](pooled.dsn()))) as reading,
    ):
        lets_go.start()
        assert reading.fetch("SELECT count(*) FROM p") == [(table,)]
    lets_go.join()


def test_a_missing_pooler_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is skipped because there is nothing to test with."""
    monkeypatch.setattr("support.pgbouncer.shutil.which", lambda name, path: None)

    with pytest.raises(AssertionError, match="apt install pgbouncer"):
        find_pgbouncer()
