"""Guards for what a run writes, on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from support.guards import until
from support.postgres_server import Server, server

from taskmaster.guards import Guard
from taskmaster.postgres import guards

pytestmark = pytest.mark.slow  # what a server does by itself has to be waited for


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    """Give a server of these tests' own, whose autovacuum looks once a second."""
    with server() as own:
        own.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        own.execute("ALTER SYSTEM SET autovacuum = off")
        own.execute("SELECT pg_reload_conf()")
        yield own


def test_the_rate_of_the_log_is_what_is_written_in_a_second(primary: Server) -> None:
    """A burst holds the run, and a quiet while lets it go on."""
    primary.execute("CREATE TABLE written (body text)")
    with closing(guards.wal_rate("64K", primary.dsn())) as guard:
        assert guard() == "written log is unknown: the rate is known after the second reading"
        primary.execute("INSERT INTO written SELECT repeat(md5(n::text), 30) FROM generate_series(1, 5000) n")
        reason = until(guard, lambda reason: "above" in reason)

        assert reason.startswith("written log ")
        assert reason.endswith("/s, above 64K/s")
        assert until(guard, lambda reason: not reason) == ""


def test_forced_checkpoints_count_for_a_while(primary: Server) -> None:
    """Those before the first look do not."""
    primary.execute("CHECKPOINT")
    with closing(guards.checkpoints_forced(0, primary.dsn(), within="2s")) as guard:
        assert guard() == ""
        primary.execute("CHECKPOINT")

        assert until(guard, lambda reason: reason) == "forced checkpoints 1, above 0"
        assert until(guard, lambda reason: not reason) == ""


def test_dead_rows_are_counted_with_partitions_until_they_are_cleaned_up(primary: Server) -> None:
    """As rows, and as a share of all."""
    primary.execute("CREATE TABLE parted (id int, body text) PARTITION BY RANGE (id)")
    primary.execute("CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (1000)")
    primary.execute("INSERT INTO parted SELECT n, '' FROM generate_series(0, 999) n")
    primary.execute("UPDATE parted SET body = 'x' WHERE id < 500")
    with (
        closing(guards.dead_tuples(100, "parted", primary.dsn())) as rows,
        closing(guards.dead_tuples("10%", "public.part1", primary.dsn())) as share,
    ):
        assert until(rows, lambda reason: "above" in reason) == "dead rows of parted 500, above 100"
        assert until(share, lambda reason: "above" in reason) == "dead rows of public.part1 33.33 %, above 10 %"

        primary.execute("VACUUM parted")

        assert until(rows, lambda reason: not reason) == ""
        assert until(share, lambda reason: not reason) == ""


def test_a_server_that_does_not_count_rows_is_unknown(primary: Server) -> None:
    """It would say that none is dead."""
    with closing(guards.dead_tuples(100, "pg_class", f"{primary.dsn()} options='-c track_counts=off'")) as guard:
        assert guard() == "dead rows of pg_class is unknown: the server does not count rows: set track_counts = on"


def test_autovacuum_at_work_on_a_table_holds_the_run(primary: Server) -> None:
    """Until it has done; a vacuum of another table, or by hand, is not meant."""
    primary.execute("CREATE TABLE cleaned (id int, body text) WITH (autovacuum_vacuum_threshold = 1, "
                    "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, "
                    "autovacuum_vacuum_cost_limit = 1)")  # fmt: skip
    primary.execute("INSERT INTO cleaned SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n")
    primary.execute("UPDATE cleaned SET body = 'y'")
    with (
        closing(guards.autovacuum_running("cleaned", primary.dsn())) as guard,
        closing(guards.autovacuum_running("pg_class", primary.dsn())) as other,
    ):
        assert guard() == ""
        primary.execute("ALTER SYSTEM SET autovacuum = on")
        primary.execute("SELECT pg_reload_conf()")
        try:
            assert until(guard, lambda reason: reason) == "autovacuum workers on cleaned 1, above 0"
            assert other() == ""
            primary.execute("ALTER TABLE cleaned SET (autovacuum_enabled = off)")  # ends the worker that is in the way
            primary.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum")
            assert until(guard, lambda reason: not reason) == ""
        finally:
            primary.execute("ALTER SYSTEM SET autovacuum = off")
            primary.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("make", [guards.autovacuum_running, lambda table, dsn: guards.dead_tuples(1, table, dsn)])
def test_a_table_that_is_not_there_is_unknown(primary: Server, make: Callable[[str, str], Guard]) -> None:
    """A misspelt name must not let the run go on for ever; and it is a name, not a statement."""
    for table in ("no_such", "no schema.'t; DROP TABLE x"):
        with closing(make(table, primary.dsn())) as guard:
            assert " is unknown: " in guard()


def test_the_space_of_a_tablespace_is_asked_of_the_server(primary: Server) -> None:
    """As df tells it there; the temporary table is gone afterwards."""
    with (
        closing(guards.disk_free("1K", primary.dsn())) as enough,
        closing(guards.disk_free("100%", primary.dsn(), tablespace="pg_global")) as never,
        closing(guards.disk_free("1K", primary.dsn(), tablespace="no ' such")) as none,
    ):
        assert (enough(), enough()) == ("", "")
        assert enough.value is not None
        assert enough.value > 1024
        assert never().endswith(" %, below 100 %")
        assert none() == "free space of no ' such is unknown: there is no such tablespace"


def test_rights_that_are_missing_are_named(primary: Server) -> None:
    """The run waits, and somebody has to know why."""
    primary.execute("CREATE ROLE weak LOGIN")
    dsn = primary.dsn().replace("user=postgres", "user=weak")
    with closing(guards.disk_free("1K", dsn)) as guard:
        assert "GRANT pg_execute_server_program, pg_monitor TO that user" in guard()
