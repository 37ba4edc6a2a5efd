"""Guards on a real PostgreSQL server, and on a real standby."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection
from support.commands import wait_for
from support.guards import until
from support.postgres_server import Server, server, standby

from taskmaster.errors import UsageError
from taskmaster.guards import Guard, Unknown
from taskmaster.postgres import guards
from taskmaster.postgres.probe import DatabaseProbe
from taskmaster.postgres.rows import rows

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskmaster/guard'"


@contextmanager
def connected(dsn: str) -> Iterator[Any]:
    """A cursor in a connection of its own."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """Give a primary of these tests' own, and its standby."""
    with server({"wal_level": "logical"}) as primary, standby(primary) as copy:
        primary.execute("CREATE TABLE keyed AS SELECT 1 AS id; ALTER TABLE keyed ADD PRIMARY KEY (id)")
        primary.execute("CREATE TABLE seen (at timestamptz)")
        # A standby that does not get on tells its primary so every 10 seconds by default.
        copy.execute("ALTER SYSTEM SET wal_receiver_status_interval = 1")
        copy.execute("SELECT pg_reload_conf()")
        # One that has replayed nothing since it was started cannot say how old that is.
        write(primary)
        # The table itself comes to the standby some time, too.
        wait_for("the table", lambda: (None,) not in copy.execute("SELECT to_regclass('seen')"))
        wait_for("its row", lambda: copy.execute("SELECT 1 FROM seen"))
        yield primary, copy


def write(primary: Server) -> None:
    """A transaction that the standby has to replay."""
    primary.execute("INSERT INTO seen VALUES (now())")


def test_a_probe_of_a_standby_only_reads(pair: tuple[Server, Server]) -> None:
    """Nothing can be committed there, and it says so; a primary is written to."""
    for asked, reads_only in zip(pair, (False, True), strict=True):
        with closing(DatabaseProbe(asked.dsn())) as probe:
            assert probe() > 0
            assert probe.reads_only is reads_only


@pytest.mark.parametrize("ask", ["standby", "primary"])
def test_replication_lag_grows_while_nothing_is_replayed(pair: tuple[Server, Server], ask: str) -> None:
    """The run waits, with value and limit, until the standby has caught up; both servers can
    tell.
    """
    primary, copy = pair
    with closing(guards.replication_lag("1s", (copy if ask == "standby" else primary).dsn())) as guard:
        write(primary)
        until(guard, lambda reason: not reason)
        copy.execute("SELECT pg_wal_replay_pause()")
        try:
            write(primary)
            reason = until(guard, lambda reason: "above" in reason)
            assert reason.startswith("replication lag ")
            assert reason.endswith(" s, above 1 s")
            assert guard.value > 1.0
        finally:
            copy.execute("SELECT pg_wal_replay_resume()")
        write(primary)
        until(guard, lambda reason: not reason)


def test_a_standby_of_serializable_transactions_is_asked(pair: tuple[Server, Server]) -> None:
    """No standby has them, and their default comes from the primary: neither guard nor probe nor
    source could look.
    """
    primary, copy = pair
    primary.execute("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'")
    isolation = "SELECT setconfig FROM pg_db_role_setting WHERE setconfig[1] LIKE '%serializable'"
    dsn = f"{copy.dsn()} options='-c default_transaction_isolation=read\\\\ committed'"
    try:
        with connected(dsn) as cursor:
            wait_for(
                "the setting", lambda: (cursor.connection.rollback(), cursor.execute(isolation), cursor.fetchone())[2]
            )
        with closing(guards.replication_lag(60, copy.dsn())) as guard:
            assert guard() == ""
        with closing(DatabaseProbe(copy.dsn())) as probe:
            assert probe() > 0
            assert probe.sessions() == frozenset()
        assert len(list(rows(copy.dsn(), "keyed").iterate(None))) == 1
    finally:
        primary.execute("ALTER DATABASE postgres RESET default_transaction_isolation")


@pytest.mark.parametrize(
    "make",
    [
        partial(guards.dead_tuples, 0, "seen"),
        partial(guards.autovacuum_running, "seen"),
        partial(guards.checkpoints_forced, 0),
    ],
)
def test_what_a_standby_does_not_count_is_asked_of_its_primary(
    pair: tuple[Server, Server], make: Callable[[str], Guard]
) -> None:
    """Its own numbers are always 0, so that the run would never be held."""
    primary, copy = pair
    make(primary.dsn()).try_out()
    with pytest.raises(UsageError, match="the server is a standby: give its primary"):
        make(copy.dsn()).try_out()


def test_the_space_on_a_disk_is_told_to_a_user_who_only_reads(pair: tuple[Server, Server]) -> None:
    """As a role for monitoring is set up; the guard's scratch table is the session's own."""
    dsn = f"{pair[0].dsn()} options='-c default_transaction_read_only=on'"
    with closing(guards.disk_free("1M", dsn)) as guard:
        assert guard() == ""


def test_a_quiet_primary_is_no_lag(pair: tuple[Server, Server]) -> None:
    """The last transaction is old, and the standby has replayed all there is."""
    primary, copy = pair
    write(primary)
    with closing(guards.replication_lag(0.5, copy.dsn())) as guard:
        until(guard, lambda reason: not reason)
        old = "SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > '0.6 s'"
        wait_for("the last transaction to be older than the limit", lambda: copy.execute(old) == [(True,)])

        assert until(guard, lambda _: guard.value == 0) == ""


def test_a_standby_without_its_primary_is_behind(pair: tuple[Server, Server]) -> None:
    """It has replayed all that it has received, and receives nothing."""
    primary, copy = pair
    write(primary)
    with closing(guards.replication_lag(0.5, copy.dsn())) as guard:
        until(guard, lambda reason: not reason)
        conninfo = copy.execute("SHOW primary_conninfo")[0][0]
        copy.execute("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
        copy.execute("SELECT pg_reload_conf()")
        try:
            until(guard, lambda reason: "above" in reason)
        finally:
            copy.execute("ALTER SYSTEM SET primary_conninfo = %s", conninfo)
            copy.execute("SELECT pg_reload_conf()")
        write(primary)
        until(guard, lambda reason: not reason)


@pytest.fixture
def unlimited(pair: tuple[Server, Server]) -> Iterator[Guard]:
    """Give a guard at the primary that waits only for what it does not know."""
    with closing(guards.replication_lag(3600, pair[0].dsn())) as guard:
        until(guard, lambda reason: not reason)
        yield guard


def test_a_standby_that_has_stopped_answering_is_not_believed(pair: tuple[Server, Server], unlimited: Guard) -> None:
    """Its machine hangs, or is cut off: what it has said last stays as it was."""
    primary, copy = pair
    ((receiver,),) = copy.execute("SELECT pid FROM pg_stat_wal_receiver")
    os.kill(receiver, signal.SIGSTOP)
    try:
        write(primary)
        assert "a standby has not answered for" in until(unlimited, bool)
        ((behind,),) = primary.execute("SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication")
        assert (behind or 0) < 1
    finally:
        os.kill(receiver, signal.SIGCONT)
    until(unlimited, lambda reason: not reason)


def test_a_quiet_standby_is_believed(pair: tuple[Server, Server], unlimited: Guard) -> None:
    """One that has nothing to answer answers seldom, and one that has just got something has not
    yet.
    """
    primary, copy = pair
    copy.execute("ALTER SYSTEM SET wal_receiver_status_interval = 0")
    copy.execute("SELECT pg_reload_conf()")
    try:
        write(primary)
        old = "SELECT clock_timestamp() - max(reply_time) > '2 s' FROM pg_stat_replication"
        wait_for("a standby without anything to say", lambda: primary.execute(old) == [(True,)])
        assert unlimited() == ""
        write(primary)
        assert unlimited() == ""
    finally:
        copy.execute("ALTER SYSTEM SET wal_receiver_status_interval = 1")
        copy.execute("SELECT pg_reload_conf()")


def test_a_standby_that_is_gone_is_missed(pair: tuple[Server, Server], unlimited: Guard) -> None:
    """Although the other one still answers; it may come back."""
    primary, _ = pair
    with standby(primary) as second:
        conninfo = second.execute("SHOW primary_conninfo")[0][0]
        second.execute("ALTER SYSTEM SET primary_conninfo = %s", f"{conninfo} application_name=second")
        second.execute("SELECT pg_reload_conf()")
        seen = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'second' AND replay_lsn IS NOT NULL"
        wait_for("the second standby", lambda: primary.execute(seen) == [(1,)])
        until(unlimited, lambda reason: not reason)
        second.stop()
        assert "a standby that was connected is gone: second at 127.0.0.1" in until(unlimited, bool)
        second.start()
        until(unlimited, lambda reason: not reason)


@contextmanager
def subscriber(primary: Server, name: str) -> Iterator[Any]:
    """A logical subscriber, which says what it is told to."""
    primary.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    primary.execute("SELECT pg_create_logical_replication_slot('subscriber', 'pgoutput')")
    dsn = f"{primary.dsn()} application_name={name}"
    try:
        with (
            closing(psycopg2.connect(dsn, connection_factory=LogicalReplicationConnection)) as connection,
            connection.cursor() as cursor,
        ):
            options = {"proto_version": "1", "publication_names": "everything"}
            cursor.start_replication(slot_name="subscriber", options=options)
            yield cursor
    finally:
        active = "SELECT 1 FROM pg_replication_slots WHERE active"
        wait_for("the slot", lambda: not primary.execute(active))
        primary.execute("SELECT pg_drop_replication_slot('subscriber')")
        primary.execute("DROP PUBLICATION everything")


def replays(primary: Server, name: str) -> bool:
    """Whether the primary knows how far somebody has replayed."""
    seen = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND replay_lsn IS NOT NULL"
    return bool(primary.execute(seen, name))


def test_a_logical_subscriber_may_answer_when_it_likes(pair: tuple[Server, Server], unlimited: Guard) -> None:
    """Such as every ten seconds; a standby answers at once."""
    primary, _ = pair
    with subscriber(primary, "sink") as sink:
        sink.send_feedback(write_lsn=1, flush_lsn=1, apply_lsn=1, force=True)
        wait_for("what it says", lambda: replays(primary, "sink"))
        until(unlimited, lambda reason: not reason)
        old = "SELECT clock_timestamp() - reply_time > '1.5 s' FROM pg_stat_replication WHERE application_name = 'sink'"
        wait_for("its silence", lambda: primary.execute(old) == [(True,)])
        write(primary)
        assert unlimited() == ""


def test_a_subscriber_that_has_copied_its_table_is_not_missed(pair: tuple[Server, Server], unlimited: Guard) -> None:
    """It is there for a while beside the subscription's own, and does not come back."""
    primary, _ = pair
    with subscriber(primary, "pg_16420_sync_16413_7713833892012749732") as copying:
        copying.send_feedback(write_lsn=1, flush_lsn=1, apply_lsn=1, force=True)
        wait_for("what it says", lambda: replays(primary, "pg_16420_sync_16413_7713833892012749732"))
        unlimited()
    until(unlimited, lambda reason: not reason)


def test_what_only_keeps_the_log_is_no_standby(postgres: Server) -> None:
    """As pg_receivewal does, and a backup: it replays nothing, and was taken for no lag."""
    ((begin,),) = postgres.execute("SELECT pg_current_wal_lsn()::text")
    with (
        closing(psycopg2.connect(postgres.dsn(), connection_factory=PhysicalReplicationConnection)) as connection,
        connection.cursor() as cursor,
        closing(guards.replication_lag(5, postgres.dsn())) as guard,
    ):
        cursor.start_replication(start_lsn=begin)
        cursor.send_feedback(write_lsn=1, flush_lsn=1, force=True)
        seen = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND flush_lsn IS NOT NULL"
        wait_for("the one that keeps the log", lambda: postgres.execute(seen))
        assert "no standby is connected" in guard()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((True, 0, None, 0, 0, 0, 0, 0, None), 0),
        ((True, 0, 40.2, 0, 0, 0, 0, 0, None), "the standby has heard nothing from its primary for 40 s"),
        ((True, None, None, 0, 0, 0, 0, 0, None), "has not replayed"),
        ((False, None, None, 1, 0, 0, 0.5, 0.9, ["a"]), 0.5),
        ((False, None, None, 1, 0, 0, 0.5, 9.4, ["a"]), "a standby has not answered for 9 s"),
        ((False, None, None, 0, 0, 0, 0, 0, None), "no standby is connected"),
    ],
)
def test_what_is_known_of_the_lag(row: tuple, expected: Any) -> None:
    """At the standby itself, and at its primary."""
    if isinstance(expected, str):
        with pytest.raises(Unknown, match=expected):
            guards._Lag()(row)
    else:
        assert guards._Lag()(row) == expected


def test_a_primary_without_a_standby_does_not_know_the_lag(database: str) -> None:
    """Unknown means wait."""
    with closing(guards.replication_lag(5, database)) as guard:
        assert guard() == ("replication lag is unknown: the server is a primary, and no standby is connected to it")


def test_a_user_without_the_right_does_not_know(database: str) -> None:
    """Numbers that would be too small are unknown, with what cures it; locks anybody may see."""
    with connected(database) as cursor:
        cursor.execute("CREATE ROLE stranger LOGIN")
        cursor.connection.commit()
        dsn = psycopg2.extensions.make_dsn(database, user="stranger")
        try:
            for make in (guards.active_connections, guards.long_transactions):
                with closing(make(5, dsn)) as guard:
                    assert "GRANT pg_monitor" in guard()
                    cursor.execute("GRANT pg_monitor TO stranger")
                    cursor.connection.commit()
                    assert "unknown" not in guard()
                    cursor.execute("REVOKE pg_monitor FROM stranger")
                    cursor.connection.commit()
            with closing(guards.locks_waiting(1000, dsn)) as guard:
                assert guard() == ""
        finally:
            cursor.connection.rollback()
            cursor.execute("DROP ROLE stranger")
            cursor.connection.commit()


def test_sessions_that_are_not_tracked_are_unknown(database: str) -> None:
    """With track_activities = off, an active one would be none, and a transaction would have no
    age.
    """
    with connected(database) as cursor:
        cursor.connection.autocommit = True
        for make in (guards.active_connections, guards.long_transactions):
            with closing(make(1000, database)) as guard:
                until(guard, lambda reason: not reason)
                cursor.execute("SET track_activities = off")
                assert until(guard, bool).endswith("is unknown: " + guards.UNTRACKED)
                cursor.execute("SET track_activities = on")
                until(guard, lambda reason: not reason)


def test_long_transactions(database: str) -> None:
    """An open one is noticed while it is open, also if it does nothing; the guard's own is none."""
    with closing(guards.long_transactions(0.5, database)) as guard, connected(database) as cursor:
        until(guard, lambda reason: not reason)
        cursor.execute("SELECT 1")
        assert until(guard, bool).startswith("oldest transaction ")
        cursor.connection.rollback()
        until(guard, lambda reason: not reason)


def test_locks_waiting(database: str) -> None:
    """A session that waits for another one's lock, until it has it."""
    with closing(guards.locks_waiting(0, database)) as guard, connected(database) as cursor:
        cursor.execute("CREATE TABLE post (id int)")
        cursor.connection.commit()
        assert until(guard, lambda reason: not reason) == ""
        cursor.execute("LOCK TABLE post")
        with connected(database) as other:
            waits = threading.Thread(target=other.execute, args=("LOCK TABLE post",))
            waits.start()
            assert until(guard, bool) == "waiting locks 1, above 0"
            cursor.connection.rollback()
            waits.join()
            until(guard, lambda reason: not reason)


def test_active_connections(database: str) -> None:
    """Those that run a statement, not those that are merely there; the guard's own is none."""
    with closing(guards.active_connections(0, database)) as guard, connected(database) as cursor:
        cursor.execute("SELECT 1")
        until(guard, lambda reason: not reason)

        def run() -> None:
            with pytest.raises(psycopg2.errors.QueryCanceled):
                cursor.execute("SELECT pg_sleep(600)")

        runs = threading.Thread(target=run)
        runs.start()
        try:
            assert until(guard, bool) == "active connections 1, above 0"
        finally:
            cursor.connection.cancel()
            runs.join()
        cursor.connection.rollback()
        until(guard, lambda reason: not reason)


def test_any_number_of_a_statement(database: str) -> None:
    """Below the limit the run goes on; no number, no row and a wrong statement are unknown."""
    with connected(database) as cursor:
        cursor.execute("CREATE TABLE outbox (id int)")
        cursor.connection.commit()
        with closing(
            guards.query("SELECT count(*) FROM outbox -- 100%", below=3, dsn=database, what="outbox")
        ) as guard:
            assert guard() == ""
            cursor.execute("INSERT INTO outbox SELECT generate_series(1, 3)")
            cursor.connection.commit()
            assert guard() == "outbox 3, not below 3"
        for sql, why in [
            ("SELECT NULL", "None is not a number"),
            ("SELECT 1 WHERE false", "gives no row"),
            ("CREATE TABLE made ()", "gives no row"),
            ("SELECT no", 'column "no" does not exist'),
            ("SELECT pg_sleep(60)", "statement timeout"),
        ]:
            with closing(guards.query(sql, below=3, dsn=database)) as guard:
                reason = guard()
                assert reason.startswith(f"{sql} is unknown: "), reason
                assert why in reason


def test_a_guard_keeps_one_connection_and_leaves_nothing_behind(database: str) -> None:
    """It is called taskmaster/guard, holds no transaction open and no setting, and is closed at the
    end.
    """
    with connected(database) as cursor:
        cursor.connection.autocommit = True
        wait_for("the guards before to be gone", lambda: cursor.execute(OTHERS) or cursor.fetchone() == (0,))
        guard = guards.locks_waiting(1000, database)
        guard()
        cursor.execute(OTHERS)
        assert cursor.fetchone() == (1,)
        assert guard() == ""
        cursor.execute("SELECT pid, state FROM pg_stat_activity WHERE application_name = 'taskmaster/guard'")
        ((_, state),) = cursor.fetchall()
        assert state == "idle"
        with guard._read._connection.cursor() as inner:
            inner.execute("SHOW statement_timeout")
            assert inner.fetchone() == ("0",)
        guard.close()
        wait_for("its connection to be gone", lambda: cursor.execute(OTHERS) or cursor.fetchone() == (0,))


def test_a_connection_that_was_lost_is_opened_again(database: str) -> None:
    """Unknown once, and known the next time."""
    with closing(guards.locks_waiting(1000, database)) as guard, connected(database) as cursor:
        assert guard() == ""
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskmaster/guard'"
        )

        assert guard().startswith("waiting locks is unknown: ")
        assert guard() == ""


def test_what_does_not_pass_by_itself_is_refused_at_the_start(postgres: Server) -> None:
    """A database, a role, a table or a right that is not there; what may pass is waited for, and so
    is all of it once the run works.
    """
    postgres.execute("DROP ROLE IF EXISTS humble")
    postgres.execute("CREATE ROLE humble LOGIN")
    dsn = postgres.dsn()
    for guard, why in (
        (guards.locks_waiting(0, f"{dsn} dbname=nope password=sesame1"), 'database "nope" does not exist'),
        (guards.replication_lag(5, f"{dsn} user=nobody"), 'role "nobody" does not exist'),
        (guards.dead_tuples(100, "nopost", dsn), "there is no such table"),
        (guards.autovacuum_running("nopost", dsn), "there is no such table"),
        (guards.query("SELECT * FROM nowhere", below=1, dsn=dsn), 'relation "nowhere" does not exist'),
        (guards.query("SELECT * FROM pg_authid", below=1, dsn=f"{dsn} user=humble"), "permission denied for table"),
        (guards.disk_free("1G", f"{dsn} user=humble"), "GRANT pg_execute_server_program"),
        (guards.disk_free("1G", dsn, tablespace="none"), "there is no such tablespace"),
    ):
        with closing(guard), pytest.raises(UsageError, match="cannot look, and the run would wait for ever") as refused:
            guard.try_out()
        assert why in str(refused.value)
        assert "sesame1" not in str(refused.value)
        assert " is unknown: " in guard()
        guard.close()
    for guard in (
        guards.locks_waiting(0, "host=127.0.0.1 port=1"),
        guards.query("SELECT 1 / 0", below=1, dsn=dsn),
        guards.replication_lag(5, dsn),  # no standby yet
        Guard(lambda: 1 // 0, 1, "a function of the user's own"),
    ):
        guard.try_out()
    assert postgres.execute("SELECT FROM pg_stat_activity WHERE application_name = 'taskmaster/guard'") == []
