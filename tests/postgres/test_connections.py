"""The connection of a worker: one for each process, thread and database, checked, and reopened when
it was lost.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest
from support.ports import free_port
from support.postgres_server import server

from taskmaster import postgres
from taskmaster.errors import UsageError
from taskmaster.postgres import connections
from taskmaster.postgres.statements import SourceConnection
from taskmaster.runtime.context import HERE

Sql = Callable[..., list[tuple]]


@pytest.fixture(params=["psycopg2", "psycopg", "dsn"])
def dsn(request: pytest.FixtureRequest, database: str) -> Any:
    """A DSN, or a function of either driver."""
    if request.param == "dsn":
        return database
    driver = {"psycopg2": psycopg2, "psycopg": psycopg}[request.param]
    return lambda: driver.connect(database)


def ask(dsn: Any, text: str) -> Any:
    """One value, in a block of its own."""
    with postgres.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchone()[0]


def test_one_connection_serves_all_jobs(dsn: Any, sql: Sql) -> None:
    """The block is a transaction: kept at its end, undone by an exception, and whole in either
    case.
    """
    sql("CREATE TABLE seen (n int)")
    pid = ask(dsn, "SELECT pg_backend_pid()")
    with postgres.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO seen VALUES (1)")
    with pytest.raises(ZeroDivisionError), postgres.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO seen VALUES (2)")
        raise ZeroDivisionError

    assert sql("SELECT n FROM seen") == [(1,)]
    assert ask(dsn, "SELECT pg_backend_pid()") == pid


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_what_a_function_sets_before_it_returns_stays(database: str, driver: Any) -> None:
    """It need not commit its settings: they hold in the first block, and in those after it."""

    def open_it() -> Any:
        connection = driver.connect(database)
        connection.cursor().execute("SET search_path TO pg_catalog")
        return connection

    assert [ask(open_it, "SHOW search_path") for _ in range(2)] == ["pg_catalog"] * 2


def test_work_is_not_lost_in_silence(dsn: Any, sql: Sql) -> None:
    """A statement that failed has undone the ones before it: swallowed, it still fails the job;
    with a savepoint, or after a rollback, there is nothing to say.
    """
    sql("CREATE TABLE seen (n int PRIMARY KEY); INSERT INTO seen VALUES (1)")
    twice = "INSERT INTO seen VALUES (1)"
    pid = ask(dsn, "SELECT pg_backend_pid()")
    with pytest.raises(UsageError, match="SAVEPOINT"), postgres.connect(dsn) as connection:
        cursor = connection.cursor()
        cursor.execute("UPDATE seen SET n = 7")
        cursor.execute("INSERT INTO seen VALUES (1)")
        with pytest.raises((psycopg2.IntegrityError, psycopg.IntegrityError)):
            cursor.execute(twice)
    assert sql("SELECT n FROM seen") == [(1,)]

    with postgres.connect(dsn) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO seen VALUES (2)")
        cursor.execute("SAVEPOINT before")
        with pytest.raises((psycopg2.IntegrityError, psycopg.IntegrityError)):
            cursor.execute(twice)
        cursor.execute("ROLLBACK TO SAVEPOINT before")
    with postgres.connect(dsn) as connection:
        cursor = connection.cursor()
        with pytest.raises((psycopg2.IntegrityError, psycopg.IntegrityError)):
            cursor.execute(twice)
        connection.rollback()
        cursor.execute("INSERT INTO seen VALUES (3)")

    assert sql("SELECT n FROM seen ORDER BY n") == [(1,), (2,), (3,)]
    assert ask(dsn, "SELECT pg_backend_pid()") == pid


def test_a_driver_that_does_not_tell_how_its_transaction_is_will_do(tmp_path: Path) -> None:
    """Its commit is its own affair."""
    path = tmp_path / "seen"

    def open_it() -> sqlite3.Connection:
        return sqlite3.connect(path)

    with postgres.connect(open_it) as connection:
        connection.execute("CREATE TABLE seen (n int)")
        connection.execute("INSERT INTO seen VALUES (1)")

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT n FROM seen").fetchall() == [(1,)]


def test_a_lost_connection_is_opened_again(dsn: Any, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was lost while nobody used it is noticed before the next job, one that is lost in a
    block after it.
    """
    pid = ask(dsn, "SELECT pg_backend_pid()")
    sql("SELECT pg_terminate_backend(%s)", pid)
    with pytest.raises((psycopg2.Error, psycopg.Error)):
        ask(dsn, "SELECT 1")
    second = ask(dsn, "SELECT pg_backend_pid()")

    assert second != pid

    sql("SELECT pg_terminate_backend(%s)", second)
    monkeypatch.setattr(connections, "UNTESTED_SECONDS", 0.0)

    assert ask(dsn, "SELECT pg_backend_pid()") not in (pid, second)


@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_a_connection_to_a_standby_is_not_kept_by_who_has_to_write(database: str, sql: Sql, driver: Any) -> None:
    """The address leads to the primary by now, as after a failover."""
    sql("CREATE TABLE seen (id int)")
    servers = iter([f"{database} options='-c default_transaction_read_only=on'", database])

    def connect() -> Any:
        return driver.connect(next(servers))

    with pytest.raises((psycopg2.Error, psycopg.Error), match="read-only transaction"):
        ask(connect, "INSERT INTO seen VALUES (1) RETURNING id")

    assert ask(connect, "INSERT INTO seen VALUES (2) RETURNING id") == 2


def test_a_server_that_restarts_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """A job that asks for a connection meanwhile gets it later; a wrong name is said at once."""
    with server() as own:
        first = ask(own.dsn(), "SELECT pg_backend_pid()")
        own.stop("immediate")
        with pytest.raises(psycopg2.OperationalError):
            ask(own.dsn(), "SELECT 1")
        with pytest.raises(psycopg2.OperationalError, match="refused"), postgres.connect(own.dsn(), patience=0):
            pass

        def start_when_waited_for() -> None:
            while "is waited for" not in caplog.text:
                time.sleep(0.02)
            own.start()

        starts = threading.Thread(target=start_when_waited_for, daemon=True)
        with caplog.at_level(logging.WARNING, "taskmaster"):
            starts.start()
            assert ask(own.dsn(), "SELECT pg_backend_pid()") != first
        starts.join()
        assert caplog.text.count("is waited for, up to 300 s") == 1
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            ask(f"{own.dsn()} user=nobody_x", "SELECT 1")


def test_no_password_is_shown_while_a_server_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the user's own function says with what it has tried."""
    dsn = f"postgresql://me:s3cret@127.0.0.1:{free_port()}/blog"

    def open_it() -> Any:
        try:
            return psycopg2.connect(dsn)
        except psycopg2.OperationalError as exc:
            raise psycopg2.OperationalError(f"with {dsn}: {exc}") from exc

    with (
        caplog.at_level(logging.WARNING, "taskmaster"),
        pytest.raises(psycopg2.OperationalError),
        postgres.connect(open_it, patience=0.6),
    ):
        pass

    assert "is waited for, up to 0.6 s: with postgresql://me:***@127.0.0.1" in caplog.text
    assert "s3cret" not in "".join(record.getMessage() for record in caplog.records)


def test_a_job_does_not_wait_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of its time-out, so that the exception says what the worker would be killed for."""
    monkeypatch.setattr(HERE, "job_timeout", 0.4)
    with (
        pytest.raises(psycopg2.OperationalError, match="refused"),
        postgres.connect(f"host=127.0.0.1 port={free_port()} dbname=postgres"),
    ):
        pass


@pytest.mark.parametrize("who", ["worker", "source", "guard"])
def test_a_server_whose_machine_is_gone_is_noticed(database: str, who: str) -> None:
    """By the sockets of all that connects with a DSN, which may say otherwise. A worker's may stand
    still, as behind a COPY whose first row waits for a lock.
    """
    idle, every, silence = {"worker": (30, 10, 0), "source": (30, 10, 30_000), "guard": (3, 1, 3000)}[who]
    for dsn, given in ((database, idle), (f"{database} keepalives_idle=77", 77)):
        expected = {"TCP_KEEPIDLE": given, "TCP_KEEPINTVL": every, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": silence}
        known = {name: value for name, value in expected.items() if hasattr(socket, name)}  # not each system has all
        with asked_for(who, dsn) as found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert {name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in known} == known


@pytest.mark.skipif(sys.platform != "linux", reason="what is asked of the kernel there")
@pytest.mark.parametrize("driver", [psycopg2, psycopg])
def test_a_function_s_connection_is_asked_for_too(database: str, driver: Any) -> None:
    """Where the function has not said how often; where it has said never, so be it."""
    with socket.socket() as untouched:
        system = untouched.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    for said, asked, idle in (("", 1, 30), ("keepalives_idle=77", 1, 77), ("keepalives=0", 0, system)):
        open_it = lambda said=said: driver.connect(f"{database} {said}")  # noqa: E731
        with postgres.connect(open_it) as connection, closing(SourceConnection(open_it)) as reading:
            reading.fetch("SELECT 1")
            for one in (connection, reading._connection):
                with socket.socket(fileno=os.dup(one.fileno())) as found:
                    assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == asked
                    assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle


def asked_for(who: str, dsn: str) -> socket.socket:
    """The socket of a connection that was just opened."""
    if who == "worker":
        with postgres.connect(dsn) as connection:
            return socket.socket(fileno=os.dup(connection.fileno()))
    if who == "source":
        with closing(SourceConnection(dsn)) as reading:
            reading.fetch("SELECT 1")
            return socket.socket(fileno=os.dup(reading._connection.fileno()))
    with closing(postgres.locks_waiting(1, dsn)) as guard:
        guard()
        return socket.socket(fileno=os.dup(guard._read._connection.fileno()))


def test_a_child_opens_its_own(dsn: Any) -> None:
    """And leaves its parent's alone."""
    pid = ask(dsn, "SELECT pg_backend_pid()")
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, str(ask(dsn, "SELECT pg_backend_pid()")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(into)
    with os.fdopen(out) as said:
        theirs = int(said.read())

    assert theirs != pid
    assert ask(dsn, "SELECT pg_backend_pid()") == pid


def test_each_thread_and_each_database_has_its_own(database: str) -> None:
    """A connection is never shared."""
    found = [ask(database, "SELECT pg_backend_pid()"), ask(f"{database} ", "SELECT pg_backend_pid()")]

    def there() -> None:
        found.append(ask(database, "SELECT pg_backend_pid()"))
        connections._local.known[database].connection.close()

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()

    assert len(set(found)) == 3


def test_a_block_within_a_block_is_refused(database: str) -> None:
    """Two coroutines of one thread would find each other's transaction; the outer block goes on."""
    with postgres.connect(database) as connection:
        with pytest.raises(UsageError, match="in use"), postgres.connect(database):
            pass
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_the_server_knows_who_it_is(dsn: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and its patience follow what the worker is told; what the user has said stays."""
    assert ask(dsn, "SELECT current_setting('application_name')") == "taskmaster"
    assert ask(dsn, "SELECT current_setting('statement_timeout')") == "0"
    assert ask(dsn, "SELECT current_setting('client_connection_check_interval')") == "1s"

    monkeypatch.setattr(HERE, "run", "abc")
    monkeypatch.setattr(HERE, "slave", "host:7")
    monkeypatch.setattr(HERE, "job_timeout", 10.0)

    assert ask(dsn, "SELECT current_setting('application_name')") == "taskmaster/abc/host:7"
    assert ask(dsn, "SELECT current_setting('statement_timeout')") == "9s"

    monkeypatch.setattr(HERE, "job_timeout", 20.0)

    assert ask(dsn, "SELECT current_setting('statement_timeout')") == "18s"

    own = f"{database} application_name=mine options='-c statement_timeout=5s'"

    assert ask(own, "SELECT current_setting('application_name')") == "mine"
    assert ask(own, "SELECT current_setting('statement_timeout')") == "5s"


def test_rows_that_a_worker_s_role_does_not_see_are_warned_of(
    database: str, sql: Sql, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the master's role sees all of them; once, and not where somebody has decided."""
    name = f"worker_{psycopg2.extensions.parse_dsn(database)['dbname']}"
    monkeypatch.setattr(connections, "_said_filtered", set())
    sql(f"CREATE ROLE {name} LOGIN; CREATE TABLE mine (id int PRIMARY KEY); CREATE TABLE other (id int)")
    try:
        sql("ALTER TABLE mine ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mine USING (id > 7)")
        sql(f"GRANT SELECT ON mine, other TO {name}")
        theirs = psycopg2.extensions.make_dsn(database, user=name)
        said = []
        with caplog.at_level(logging.WARNING, "taskmaster"):
            for dsn in (database, f"{theirs} options='-c row_security=on'", theirs, lambda: psycopg.connect(theirs)):
                assert ask(dsn, "SELECT 1") == 1
                said.append(caplog.text.count("is active for this worker's role on public.mine:"))
        assert said == [0, 0, 1, 1]
    finally:
        nothing = connections._local.__dict__.pop("known", {})
        for dsn in list(nothing):
            connections._close(nothing, dsn)
        sql(f"DROP TABLE mine, other; DROP OWNED BY {name}; DROP ROLE {name}")
