"""Reading from a standby, which ends statements that are in its way."""

from __future__ import annotations

import logging
import threading

import pytest
from support.postgres_server import server, standby

from taskmaster import postgres

SLOW = "pg_sleep(0.002) IS NOT NULL"


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
