"""The probe of ``--pace``, with a real server that gets slower and well again."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from click.testing import CliRunner
from support.commands import wait_for
from support.postgres_server import Server

from taskmaster.cli.ctl import tm_ctl
from taskmaster.errors import UsageError
from taskmaster.guards import Unknown
from taskmaster.postgres import pace, ranges
from taskmaster.postgres.probe import DatabaseProbe

SESSIONS = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'taskmaster/probe'"


@pytest.fixture(autouse=True)
def _alone(postgres: Server) -> None:
    """Wait until the server has ended the sessions of the test before, which takes it a moment."""
    wait_for("the probes before to be gone", lambda: not postgres.execute(SESSIONS))


def test_the_probe_writes_where_it_may(postgres: Server) -> None:
    """Its commit writes to the log of the server; in a session that only reads, it reads."""
    with closing(DatabaseProbe(postgres.dsn())) as probe:
        before = postgres.execute("SELECT pg_current_wal_insert_lsn()")
        assert probe() > 0
        assert not probe.reads_only
        assert postgres.execute("SELECT pg_current_wal_insert_lsn()") != before
    with closing(DatabaseProbe(f"{postgres.dsn()} options='-c default_transaction_read_only=on'")) as probe:
        assert probe() > 0
        assert probe.reads_only


def test_a_probe_survives_its_connection(postgres: Server) -> None:
    """One that was ended is unknown once, and probes again over a new one."""
    with closing(DatabaseProbe(postgres.dsn())) as probe:
        probe()
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskmaster/probe'"
        )
        with pytest.raises(Unknown):
            probe()
        assert probe() > 0


def test_a_statement_of_the_users_own_is_the_probe(postgres: Server) -> None:
    """It takes as long as it takes."""
    with closing(DatabaseProbe(postgres.dsn(), "SELECT pg_sleep(0.05)")) as probe:
        assert probe() >= 0.05


def test_it_reads_the_table_of_the_run(postgres: Server) -> None:
    """By its key, wherever that is; where it cannot be read, a table of the server's own."""
    postgres.execute("CREATE TABLE public.p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(5, 1000)")
    source = ranges(postgres.dsn(), "public.p")
    with closing(source), closing(DatabaseProbe(postgres.dsn())) as probe:
        assert source.probed() is None  # not known before it is read
        next(iter(source.iterate(None)))
        assert source.probed() == ("public.p", "id", 5, 1000)
        probe.read_like(source.probed)
        probe()
        assert any("FROM public.p WHERE" in message for message in probe._messages)

        probe.close()
        postgres.execute("DROP TABLE p")
        assert probe() > 0
    with closing(DatabaseProbe(postgres.dsn())) as probe:
        probe.read_like(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        assert probe() > 0


def test_it_reads_a_table_whose_keys_are_random_over_all_of_a_bigint(postgres: Server) -> None:
    """Between its ends there is more than a bigint holds: half of the probes failed."""
    ends = -(2**63) + 1, 2**63 - 1
    postgres.execute(
        f"CREATE TABLE public.h (id bigint PRIMARY KEY); INSERT INTO h VALUES ({ends[0]}), (7), ({ends[1]})"
    )
    with closing(DatabaseProbe(postgres.dsn())) as probe:
        probe.read_like(lambda: ("public.h", "id", *ends))
        assert all(probe() > 0 for _ in range(60))
        assert any("FROM public.h" in message for message in probe._messages)
    postgres.execute("DROP TABLE h")


def test_it_sees_who_else_is_at_work(postgres: Server) -> None:
    """Others' sessions, but none of Taskmaster's, whatever these do."""
    with (
        closing(DatabaseProbe(postgres.dsn())) as probe,
        closing(psycopg2.connect(postgres.dsn())) as other,
        closing(psycopg2.connect(postgres.dsn(), application_name="taskmaster/run/slave")) as own,
    ):
        for connection in (other, own):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

        sessions = probe.sessions()

        assert sessions is not None
        assert other.info.backend_pid in sessions
        assert own.info.backend_pid not in sessions


def test_no_password_is_said(postgres: Server) -> None:
    """Neither of a database that is not there, nor in what is refused."""
    with closing(DatabaseProbe("host=127.0.0.1 port=1 password=sesame1")) as probe:
        with pytest.raises(Unknown) as unknown:
            probe()
        assert "sesame1" not in f"{unknown.value} {probe!r}"
    with pytest.raises(UsageError) as refused:
        pace("1.5x", "postgresql://u:sesame1@h:port/d")
    assert "sesame1" not in str(refused.value)


@pytest.mark.slow
def test_the_probe_is_shown_in_a_terminal(postgres: Server) -> None:
    """``tm-ctl probe`` says what limits would allow; without a server it ends with 6."""
    runner = CliRunner()
    shown = runner.invoke(tm_ctl, ["probe", postgres.dsn(), "--seconds=1"], standalone_mode=False)
    assert shown.return_value == 0, shown.output
    assert "--pace=1.5x would keep the median below" in shown.output

    none = runner.invoke(
        tm_ctl, ["probe", "host=127.0.0.1 port=1 password=sesame1", "--seconds=1"], standalone_mode=False
    )
    assert none.return_value == 6, none.output
    assert "has answered nothing" in none.output
    assert "sesame1" not in none.output


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM kept",
        "WITH gone AS (DELETE FROM kept RETURNING 1) SELECT count(*) FROM gone",
        "VACUUM kept",
        "SELECT nextval('kept_seq') -- the last word",
        "COMMIT; DELETE FROM kept",
        r"SELECT E'\''; COMMIT; DELETE FROM kept; --'",
        "SELECT $x$;$x$; COMMIT; DELETE FROM kept",
        "SET TRANSACTION READ WRITE; DELETE FROM kept",
        "SELECT * FROM nowhere",
    ],
)
def test_a_statement_of_the_users_own_can_only_read(postgres: Server, statement: str) -> None:
    """One that writes is refused at the start, with the server's reason, and nothing is changed."""
    postgres.execute("CREATE TABLE IF NOT EXISTS kept (id int); CREATE SEQUENCE IF NOT EXISTS kept_seq")
    postgres.execute("TRUNCATE kept; INSERT INTO kept VALUES (1)")
    shown = CliRunner().invoke(
        tm_ctl, ["probe", postgres.dsn(), f"--statement={statement}", "--seconds=1"], standalone_mode=False
    )
    assert isinstance(shown.exception, UsageError), shown.output
    assert "statement of the probe" in str(shown.exception)
    with pytest.raises(UsageError):
        paced = pace("1.5x", postgres.dsn(), probe=statement)
        assert isinstance(paced.probe, DatabaseProbe)
        paced.probe.try_out()
    assert postgres.execute("SELECT count(*) FROM kept") == [(1,)]


@pytest.mark.parametrize("statement", ["SELECT ';', $$;$$ /* ; */ -- ;", r"SELECT E'\';' ;", "SHOW port"])
def test_a_semicolon_that_ends_nothing_is_no_second_statement(postgres: Server, statement: str) -> None:
    """In a text, a comment or at the end; and no transaction is left open."""
    with closing(DatabaseProbe(postgres.dsn(), statement)) as probe:
        probe.try_out()
        assert probe() > 0
        assert probe() > 0
        assert postgres.execute("SELECT state FROM pg_stat_activity WHERE application_name = 'taskmaster/probe'") == [
            ("idle",)
        ]


def test_a_statement_of_the_users_that_takes_long_is_refused_at_the_start(postgres: Server) -> None:
    """With it, the share could never rise; one that is slow only the first time is taken, and so
    is a server whose own statement is slow: that is waited for.
    """
    for statement, times, refused in (
        ("SELECT 1", [0.6, 0.6], True),
        ("SELECT 1", [0.6, 0.1], False),
        ("", [9], False),
    ):
        clock = iter([moment for seconds in times for moment in (0.0, seconds)])
        with closing(DatabaseProbe(postgres.dsn(), statement, clock.__next__)) as probe:
            if refused:
                with pytest.raises(UsageError, match=r"takes 0\.6 s, and it is run about eight times a second"):
                    probe.try_out()
            else:
                probe.try_out()
        assert next(clock, None) is None


def test_what_does_not_pass_by_itself_is_refused_at_the_start(postgres: Server) -> None:
    """A name or a database that is not there; a closed port is waited for; later, the cure is
    said.
    """
    for wrong in ("dbname=nowhere", "user=nobody"):
        with closing(DatabaseProbe(f"{postgres.dsn()} {wrong} password=sesame1")) as probe:
            with pytest.raises(UsageError, match="refuses the connection of the probe") as refused:
                probe.try_out()
            assert "sesame1" not in str(refused.value)
            with pytest.raises(Unknown, match="until somebody mends the name, the password"):
                probe()
    with closing(DatabaseProbe("host=127.0.0.1 port=1")) as probe:
        probe.try_out()


def test_the_server_s_count_of_statements_is_read_where_it_is_there(postgres: Server) -> None:
    """Played by a function of its name, as the servers of the tests come without the extension;
    where there is none, and where it fails, the probe goes on without.
    """
    with closing(DatabaseProbe(postgres.dsn())) as probe:
        assert probe.statements() is None
        assert probe() > 0
    made = (
        "CREATE FUNCTION public.pg_stat_statements(showtext boolean) RETURNS TABLE (queryid bigint, dbid oid, "
        "calls bigint, total_exec_time float8, query text) LANGUAGE sql AS $$ SELECT q, (SELECT oid FROM pg_database "
        "WHERE datname = current_database()), 5::bigint, 250.0::float8, CASE q WHEN 9 THEN '/* taskmaster */' "
        "WHEN 10 THEN 'BEGIN' WHEN 11 THEN 'commit;' END FROM unnest(ARRAY[7, 7, 9, 10, 11, NULL, {more}]) q $$"
    )
    postgres.execute(made.format(more="8"))
    try:
        with closing(DatabaseProbe(postgres.dsn())) as probe:
            assert probe.statements() == {7: (10, 0.5), 8: (5, 0.25)}
        postgres.execute("DROP FUNCTION public.pg_stat_statements(boolean)")
        postgres.execute(made.format(more="(SELECT 1 / (q - q) FROM (SELECT 1 AS q) one)"))
        with closing(DatabaseProbe(postgres.dsn())) as probe:
            assert probe.statements() is None
            assert probe() > 0
    finally:
        postgres.execute("DROP FUNCTION public.pg_stat_statements(boolean)")
