"""Reading from a standby, which ends statements that are in its way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import psycopg2
import pytest
from support.commands import wait_for
from support.postgres_server import Server, server, standby

from taskmaster import postgres

SLOW = "pg_sleep(0.002) IS NOT NULL"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """Give a primary of these tests' own, and its standby."""
    with server() as primary, standby(primary) as copy:
        yield primary, copy


def until_replayed(primary: Server, copy: Server) -> None:
    """Wait until the standby has all that the primary has written."""
    target = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
    done = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_for("the standby", lambda: copy.execute(done, target) == [(True,)])


@pytest.mark.slow
def test_a_page_in_the_way_of_a_standby_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    """The standby cancels it, as its primary has removed rows that the page may still see; no row
    is left out.
    """
    with server() as primary, standby(primary) as copy:
        copy.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        copy.execute("SELECT pg_reload_conf()")
        primary.execute("CREATE TABLE comments (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off)")
        primary.execute("INSERT INTO comments SELECT n, 0 FROM generate_series(1, 1000) n")
        target = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
        while copy.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", target) != [(True,)]:
            copy.execute("SELECT pg_sleep(0.01)")
        seen: list[list[int]] = []
        source = postgres.rows(copy.dsn(), "comments", where=SLOW, chunk=200)
        with caplog.at_level(logging.WARNING, "taskmaster"):

            def read() -> None:
                while not seen or "conflict with recovery" not in caplog.text:
                    seen.append(list(source.iterate(None)))

            reads = threading.Thread(target=read)
            reads.start()
            while reads.is_alive() and "conflict with recovery" not in caplog.text:
                primary.execute("UPDATE comments SET n = n + 1 WHERE id % 100 = 0")
                primary.execute("VACUUM comments")
            reads.join()

        assert "conflict with recovery" in caplog.text
        assert all(one == list(range(1, 1001)) for one in seen)


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
@pytest.mark.parametrize("ranged", [False, True])
def test_a_standby_that_is_behind_is_waited_for(
    caplog: pytest.LogCaptureFixture, pair: tuple[Server, Server], driver: Any, ranged: bool
) -> None:
    """It is met when the connection to the primary is lost, and does not know half of the rows. It
    is asked also where serializable transactions are the default, which a standby refuses.
    """
    primary, copy = pair
    isolation = "" if ranged else "-c default_transaction_isolation=serializable"
    primary.execute("DROP TABLE IF EXISTS late; CREATE TABLE late (id int PRIMARY KEY)")
    primary.execute("INSERT INTO late SELECT n FROM generate_series(1, 50) n")
    until_replayed(primary, copy)
    copy.execute("SELECT pg_wal_replay_pause()")
    # It takes effect between two records.
    primary.execute("SELECT pg_logical_emit_message(true, 'a', 'b')")
    paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
    wait_for("the pause", lambda: copy.execute(paused) == [(True,)])
    primary.execute("INSERT INTO late SELECT n FROM generate_series(51, 100) n")
    opened: list[Any] = []

    def connect() -> Any:
        if len(opened) > 1 and "still to replay" in caplog.text:
            copy.execute("SELECT pg_wal_replay_resume()")
        opened.append(driver.connect((copy if opened else primary).dsn(), options=isolation))
        return opened[-1]

    try:
        make = partial(postgres.ranges, rows=10) if ranged else partial(postgres.rows, chunk=10)
        with caplog.at_level(logging.WARNING, "taskmaster"), closing(make(connect, "late")) as source:
            jobs = source.iterate(None)
            found = [next(jobs)]
            opened[0].close()
            found += jobs
    finally:
        copy.execute("SELECT pg_wal_replay_resume()")

    assert "this standby has" in caplog.text
    assert found[-1].key == (90, 100) if ranged else found == list(range(1, 101))
