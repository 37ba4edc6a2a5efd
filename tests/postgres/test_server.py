"""The server that the other tests of this folder use."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from support.postgres_server import find_binaries, server, standby


def test_each_test_has_a_database_of_its_own(database: str) -> None:
    """It is empty, and takes any text."""
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_user_tables")
        assert cursor.fetchall() == [(0,)]
        cursor.execute("SHOW server_encoding")
        assert cursor.fetchall() == [("UTF8",)]


@pytest.mark.slow
def test_a_standby_follows() -> None:
    """What is written on the primary is read on the standby, also after the primary was
    restarted.
    """
    with server() as primary, standby(primary) as copy:
        primary.execute("CREATE TABLE seen (id int)")
        primary.restart()
        primary.execute("INSERT INTO seen VALUES (1)")
        target = primary.execute("SELECT pg_current_wal_insert_lsn()")[0][0]
        while copy.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", target) != [(True,)]:
            copy.execute("SELECT pg_sleep(0.01)")

        assert copy.execute("SELECT id FROM seen") == [(1,)]
        assert copy.execute("SELECT pg_is_in_recovery()") == [(True,)]


def test_a_missing_server_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is skipped because there is nothing to test with."""
    monkeypatch.setattr("support.postgres_server.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("support.postgres_server.shutil.which", lambda name: None)
    monkeypatch.setattr("support.postgres_server.Path.glob", lambda self, pattern: iter(()))

    with pytest.raises(AssertionError, match="PostgreSQL is expected"):
        find_binaries()
