"""Guards of PostgreSQL without a server: in a process of their own, and where nobody listens."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("dsn", ["s@crt", "postgresql://me:s@crt%zz@h/blog", "password=s@crt host", "pass word=s@crt"])
def test_a_dsn_that_cannot_be_read_is_not_repeated(dsn: str) -> None:
    """The driver's own words would."""
    reason = postgres.locks_waiting(0, dsn)()

    assert reason.startswith("waiting locks is unknown: "), reason
    assert "crt" not in reason
