"""Guards of PostgreSQL without a server: in a process of their own, and where nobody listens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from taskmaster import postgres as database
from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions
from taskmaster.options.throttle import probe_of
from taskmaster.postgres import guards as postgres


def test_making_a_guard_imports_no_driver() -> None:
    """Nor TLS and mail, which take a quarter of the time of a start: every worker imports the
    module that makes it.
    """
    code = (
        "import sys; from taskmaster.postgres import guards as g; "
        "from taskmaster.guards import cpu_load, disk_free, http; "
        "cpu_load('80%'), disk_free('1G', '/'), http('https://throttle.example/'); "
        "g.replication_lag('5s', 'x'), g.active_connections(5, 'x'), g.long_transactions(60, 'x'), "
        "g.locks_waiting(0, 'x'), g.query('SELECT 1', below=2, dsn='x'), g.wal_rate('1M', 'x'), "
        "g.checkpoints_forced(1, 'x'), g.autovacuum_running('t', 'x'), g.dead_tuples(1, 't', 'x'), "
        "g.disk_free('1G', 'x'); "
        "sys.exit(bool({'psycopg2', 'ssl', 'email', 'http.client'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_that_is_not_there_is_unknown_and_no_password_is_shown() -> None:
    """However the DSN is written."""
    for dsn in ("postgresql://me:s%40crt@127.0.0.1:1/blog", "host=127.0.0.1 port=1 user=me password='s@crt' dbname=b"):
        guard = postgres.replication_lag(5, dsn)
        reason = guard()

        assert reason.startswith("replication lag is unknown: connection to server"), reason
        assert "crt" not in reason + repr(guard)


@pytest.mark.parametrize(
    "dsn",
    [
        "s@crt",
        "postgresql://me:sx@crt9@h:5/blog",
        "postgres://me:12/s@crt@h/blog",
        "postgresql://me:s@crt%zz@h/blog",
        "password=s@crt host",
        "pass word=s@crt",
    ],
)
def test_a_dsn_that_cannot_be_read_is_not_repeated(dsn: str) -> None:
    """The driver's own words would."""
    reason = postgres.locks_waiting(0, dsn)()

    assert reason.startswith("waiting locks is unknown: "), reason
    assert "crt" not in reason


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:sx@crt9@h:5/blog",
        "postgresql://me:sx@@h:5/blog",
        "postgres://me@work:12@h/blog",
        "postgres://me:12/sx@crt@h/blog",
        "postgresql://me:***@h/blog",
        "host=h password=***",
    ],
)
def test_a_dsn_whose_password_would_be_told_or_is_left_out_is_refused_everywhere(dsn: str) -> None:
    """By a pace, a guard, the probe, a source and a worker's connection; the cure is said."""

    def connect() -> None:
        with database.connect(dsn):
            pass

    ways: list[Callable[[], object]] = [
        lambda: MasterOptions(pace=f"1.5x@{dsn}").check(),
        lambda: MasterOptions(guard=(f"locks_waiting=0@{dsn}",)).check(),
        lambda: probe_of(dsn, ""),
        lambda: database.pace("1.5x", dsn),
        lambda: next(iter(database.rows(dsn, "posts").iterate(None))),
        connect,
    ]
    for way in ways:
        with pytest.raises(UsageError, match="Put it in again" if "***" in dsn else "%40") as refused:
            way()
        assert "crt" not in str(refused.value)


def test_an_at_sign_that_belongs_there_is_none_of_a_password() -> None:
    """Of a user, of a socket without a file, and a quoted one."""
    for dsn in (
        "postgresql://me%40x:s%40t@h/b",
        "postgresql://h/b?user=a@b&password=p@q",
        "host=@s user=a@b password=p@q",
        "postgresql://me@%40s/b",
    ):
        database.pace("1.5x", dsn)
