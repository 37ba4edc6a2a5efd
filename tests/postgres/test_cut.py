"""A link to the server that is lost without a word is noticed, also by whoever sends after that."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import psycopg2
import pytest
from support.commands import wait_for
from support.cut_link import CutLink
from support.postgres_server import Server

from taskmaster import postgres
from taskmaster.guards import Unknown
from taskmaster.postgres import connections, dead_links, guard_statement, probe
from taskmaster.postgres.statements import SourceConnection

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked, and told to drop packets, as on Linux"),
]

# libpq's own: no driver waits longer than this for a connection, or a keepalive's answer.
SOON = "connect_timeout=2 keepalives_idle=1 keepalives_interval=1 keepalives_count=2"
DSN = "host=127.0.0.1 port={port} user=postgres dbname=postgres {more}"
DRIVERS: dict[str, Callable[[str], Any]] = {
    "psycopg2": lambda dsn: lambda: psycopg2.connect(dsn),
    "psycopg": lambda dsn: lambda: psycopg.connect(dsn),
}
Lose = Callable[[CutLink], None]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let half a minute be a second; each test begins without a connection, and leaves none."""
    monkeypatch.setattr(dead_links, "_watch", dead_links.LinkWatch())
    monkeypatch.setattr(dead_links, "LINK_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(dead_links, "LINK_SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(connections, "TEST_SECONDS", 0.5)
    monkeypatch.setattr(connections, "UNTESTED_SECONDS", 0.0)
    yield
    known = connections._local.__dict__.pop("known", {})
    for dsn in list(known):
        connections._close(known, dsn)


@pytest.fixture
def link(postgres: Server) -> Iterator[CutLink]:
    """Give a link to the server."""
    with closing(CutLink(postgres.port)) as made:
        yield made


def over(link: CutLink, driver: str) -> Any:
    """Return what connects over the link."""
    return DRIVERS[driver](DSN.format(port=link.port, more=SOON))


@pytest.fixture
def mended(link: CutLink) -> Iterator[None]:
    """Mend the link when its loss is noticed, just before the connection is cut: the next one gets
    through.
    """

    class Mending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is cut" in record.getMessage():
                link.mend()

    handler, logger = Mending(), logging.getLogger(dead_links.__name__)
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.parametrize("lose", [CutLink.cut, CutLink.hang])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_master_reads_on_when_its_link_was_lost(link: CutLink, mended: None, driver: str, lose: Lose) -> None:
    """Between two statements: the next one is sent into nothing."""
    with closing(SourceConnection(over(link, driver), timeout=0.5)) as reading:
        reading.fetch("SELECT 1")
        lose(link)
        assert reading.fetch("SELECT 2") == [(2,)]
    assert link.connections > 1


@pytest.mark.parametrize("lose", [CutLink.cut, CutLink.hang])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_master_does_not_wait_for_an_answer_that_was_lost(
    link: CutLink, mended: None, postgres: Server, driver: str, lose: Lose
) -> None:
    """The link is lost while the server is at work."""
    held = threading.Event()

    def lose_when_at_work() -> None:
        with closing(psycopg2.connect(postgres.dsn())) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1)")
            held.set()
            waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_for("the statement to wait", lambda: (cursor.execute(waits), cursor.rowcount)[1])
            lose(link)

    loses = threading.Thread(target=lose_when_at_work)
    with closing(SourceConnection(over(link, driver), timeout=2)) as reading:
        reading.fetch("SELECT 1")
        loses.start()
        assert held.wait(30.0)
        assert reading.fetch("SELECT 2 FROM pg_advisory_lock_shared(1)") == [(2,)]
    loses.join()
    assert link.connections > 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_worker_that_sends_into_nothing_is_told(link: CutLink, mended: None, driver: str) -> None:
    """In its block; the next one gets another connection."""
    dsn = over(link, driver)
    with pytest.raises((psycopg2.Error, psycopg.Error)), postgres.connect(dsn) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        link.cut()
        cursor.execute("SELECT 2")
    with postgres.connect(dsn) as connection:
        connection.cursor().execute("SELECT 3")


@pytest.mark.parametrize("lose", [CutLink.cut, CutLink.hang])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_worker_s_idle_connection_is_opened_again(link: CutLink, mended: None, driver: str, lose: Lose) -> None:
    """Lost between two jobs, as by a firewall that forgets: no job fails."""
    dsn = over(link, driver)
    with postgres.connect(dsn) as connection:
        connection.cursor().execute("SELECT 1")
    lose(link)
    with postgres.connect(dsn) as connection:
        connection.cursor().execute("SELECT 2")
    assert link.connections > 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_worker_that_waits_is_told(link: CutLink, mended: None, driver: str) -> None:
    """It has sent its statement before the cut: the kernel asks, and nobody answers."""
    with pytest.raises((psycopg2.Error, psycopg.Error)), postgres.connect(over(link, driver)) as connection:
        threading.Timer(0.3, link.cut).start()
        connection.cursor().execute("SELECT pg_sleep(30)")


@pytest.mark.parametrize("lose", [CutLink.cut, CutLink.hang])
def test_a_guard_looks_again_when_its_link_was_lost(
    link: CutLink, mended: None, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know once, and knows again."""
    monkeypatch.setattr(guard_statement, "STATEMENT_SECONDS", 1)
    with closing(postgres.locks_waiting(1000, DSN.format(port=link.port, more=SOON))) as guard:
        assert guard() == ""
        lose(link)
        assert "unknown" in guard()
        link.mend()
        assert guard() == ""


@pytest.mark.parametrize("lose", [CutLink.cut, CutLink.hang])
def test_the_probe_of_a_pace_looks_again_when_its_link_was_lost(
    link: CutLink, mended: None, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that hangs would have held the run as long as it does."""
    monkeypatch.setattr(probe, "STATEMENT_SECONDS", 1)
    with closing(probe.DatabaseProbe(DSN.format(port=link.port, more=SOON))) as asked:
        assert asked() > 0
        lose(link)
        with pytest.raises(Unknown):
            asked()
        link.mend()
        assert asked() > 0
    assert link.connections > 1


def test_a_statement_may_take_as_long_as_it_likes(link: CutLink) -> None:
    """Longer than a silence may last: the link is well, and the other kernel answers."""
    with postgres.connect(over(link, "psycopg2")) as connection:
        connection.cursor().execute("SELECT pg_sleep(1.5)")
    with closing(SourceConnection(over(link, "psycopg"), timeout=0)) as reading:
        assert reading.fetch("SELECT 1 FROM pg_sleep(1.5)") == [(1,)]
    assert link.connections == 2


def test_a_server_that_takes_no_more_data_is_left_alone(link: CutLink, postgres: Server) -> None:
    """As behind a COPY whose first row waits for a lock: much is sent, and has no room."""
    postgres.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (t text)")
    with closing(psycopg2.connect(postgres.dsn())) as other, other.cursor() as locks:
        locks.execute("LOCK TABLE copied")
        threading.Timer(2, other.commit).start()
        with connections.connect(over(link, "psycopg")) as connection:
            cursor = connection.cursor()
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for _ in range(400):
                    copy.write("x" * 65536 + "\n")
    assert postgres.execute("SELECT count(*) FROM copied") == [(400,)]
