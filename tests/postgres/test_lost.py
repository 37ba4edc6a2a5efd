"""A connection that is lost in any way is opened again, and the run goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import psycopg2
import pytest
from support.commands import wait_for
from support.postgres_server import Server, server

from taskmaster import postgres
from taskmaster.postgres import connections
from taskmaster.postgres.statements import SourceConnection

DRIVERS: dict[str, Callable[[str], Any]] = {
    "dsn": lambda dsn: dsn,
    "psycopg2": lambda dsn: lambda: psycopg2.connect(dsn),
    "psycopg": lambda dsn: lambda: psycopg.connect(dsn),
}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """Give a server that these tests may crash."""
    with server() as running:
        yield running


def over(own: Server, how: str) -> str:
    """Return a DSN that goes over TCP, or over the server's Unix socket."""
    return own.dsn() if how == "tcp" else own.dsn().replace("127.0.0.1", str(own.place))


def crash(own: Server) -> None:
    """End one session as the kernel does when memory is short: the server ends all others."""
    with closing(psycopg2.connect(own.dsn())) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["tcp", "socket"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_crash_of_another_session_is_waited_for(own: Server, driver: str, how: str) -> None:
    """While the connection is idle between two pages: the driver hears of it with the next one."""
    with closing(SourceConnection(DRIVERS[driver](over(own, how)))) as reading:
        (first,) = reading.fetch("SELECT pg_backend_pid()")[0]
        crash(own)
        wait_for("the session to end", lambda: not os.path.exists(f"/proc/{first}"))
        (second,) = reading.fetch("SELECT pg_backend_pid()")[0]

    assert second != first


@pytest.mark.parametrize("mode", ["immediate", "fast"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_that_restarts_costs_no_row(own: Server, driver: str, mode: str) -> None:
    """In the middle of the pages, over its socket."""
    own.execute("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT n AS id FROM generate_series(1, 2000) n")
    own.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    own.execute("CHECKPOINT")
    seen = []
    with closing(postgres.rows(DRIVERS[driver](over(own, "socket")), "t", chunk=100)) as source:
        for key in source.iterate(None):
            seen.append(key)
            if key == 150:
                own.restart(mode)

    assert seen == list(range(1, 2001))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_worker_gives_up_a_connection_that_was_lost(own: Server, driver: str) -> None:
    """Also one without a transaction, which has nothing to roll back: the next job gets another."""
    dsn = DRIVERS[driver](over(own, "socket"))
    try:
        with postgres.connect(dsn) as connection:
            connection.autocommit = True
            first = connection.info.backend_pid
        crash(own)
        wait_for("the session to end", lambda: not os.path.exists(f"/proc/{first}"))
        with pytest.raises((psycopg2.Error, psycopg.Error)), postgres.connect(dsn) as connection:
            connection.cursor().execute("SELECT 1")
        with postgres.connect(dsn) as connection:
            connection.cursor().execute("SELECT 1")
            assert connection.info.backend_pid != first
    finally:
        known = connections._local.__dict__.get("known", {})
        for one in list(known):
            connections._close(known, one)


@pytest.mark.parametrize(("given", "kept"), [(None, None), (5, None), (0, 0), (7, 7)])
def test_nothing_is_prepared_that_a_pooler_would_lose(own: Server, given: int | None, kept: int | None) -> None:
    """The master prepares nothing; a worker does where the user's function has said so."""

    def connect() -> Any:
        connection = psycopg.connect(own.dsn())
        connection.prepare_threshold = given
        return connection

    prepared = "SELECT count(*) FROM pg_prepared_statements"
    with closing(SourceConnection(connect)) as reading:
        for _ in range(8):
            assert reading.fetch(prepared) == [(0,)]
    try:
        with postgres.connect(connect) as connection:
            assert connection.prepare_threshold == kept
    finally:
        known = connections._local.__dict__.get("known", {})
        for one in list(known):
            connections._close(known, one)
