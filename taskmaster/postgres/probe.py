"""The probe: how slow a database is for its other users, measured as the time that a small
transaction takes, with a read and an empty durable commit, over a connection of its own.

Each of its four statements is sent when the one before has been answered, as those of other users
are: a load that slows some statements would slow a single one more seldom.

The master runs it about eight times a second, in a thread of its own. It needs no rights beyond the
right to connect. Each probe is one transaction, and no setting or prepared statement outlasts it,
so that a pooler may be in between. On a standby, and where nothing may be written, it only reads.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from taskmaster.errors import ConnectError, UsageError
from taskmaster.guards.guard import Unknown
from taskmaster.guards.pace import Pace
from taskmaster.postgres import dead_links
from taskmaster.postgres.dsn import check, complete, fault
from taskmaster.postgres.guard_statement import SOON, STATEMENT_SECONDS, settings
from taskmaster.redaction import without_password
from taskmaster.runtime.log import clean_logger
from taskmaster.sources.database_errors import is_final, is_refused, said
from taskmaster.sources.database_retry import sqlstate

__all__ = ["DatabaseProbe", "pace"]

logger = clean_logger(__name__)

LONGEST_STATEMENT_SECONDS = 0.5  # longest time of a user's statement: a second without an answer slows a run down
SHOWN_SECONDS = 10.0  # for how long ``tm-ctl probe`` measures

PROBE_COMMENT = "/* taskmaster */"  # marks the probe's own statements, so that they do not count as other users'
SETTINGS = settings(PROBE_COMMENT)  # sent with the statement, in one transaction, as those of guards are
# A read by the key of an index, as other users' reads are.
READ_OF_CATALOG = f"SELECT {PROBE_COMMENT} relname FROM pg_catalog.pg_class WHERE oid = 1259"
# A read of a random row. The key is chosen as a numeric: the distance from the lowest to the
# highest of random keys may be more than a bigint holds.
READ_ROW = (
    "SELECT /* taskmaster */ {key} FROM {table} WHERE {key} >= (SELECT ({low} + random()::numeric * {width})::bigint) "
    "ORDER BY {key} LIMIT 1"
)
# It changes nothing, and its commit waits for the disk as other commits do.
COMMIT = "pg_catalog.pg_logical_emit_message(true, 'taskmaster', '')"
MAY_WRITE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
# The literals, quoted names and comments of a statement, in which a semicolon ends nothing.
QUOTED_OR_COMMENT = re.compile(
    r"""[eE]'(?:\\.|''|[^'\\])*'|'[^']*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/""", re.DOTALL
)
TRANSACTION = (
    "25"  # first digits of the SQLSTATEs of what a transaction does not allow, as of a write in a read-only one
)
MEND = "until somebody mends the name, the password or the right, there or in the DSN of the pace"
# The sessions that have been at work in the last second. Taskmaster's own are left out by their
# application_name, unless a program gave them another one. For a user without the right to see
# other sessions, the state is NULL: ``sessions`` then answers None instead of too few.
SESSIONS = f"""
SELECT {PROBE_COMMENT} pid, state IS NULL FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'taskmaster%'
      AND (state IS NULL OR state = 'active' OR query_start > clock_timestamp() - interval '1 second')
"""
# Whether pg_stat_statements can be asked. This comes first, so that the server logs no error.
COUNTS = f"""
SELECT {PROBE_COMMENT} to_regprocedure('pg_stat_statements(boolean)') IS NOT NULL
       AND current_setting('server_version_num')::int >= 130000
"""
# The probe's own statements, and BEGIN and COMMIT. The server counts all users' BEGIN as one
# statement, so that the probe's would count as theirs; and they take no time.
OWN = """
SELECT queryid FROM pg_stat_statements(true)
WHERE query LIKE '%' || $$/* taskmaster */$$ || '%' OR lower(btrim(query, ' ;')) IN ('begin', 'commit')
"""
OWN_COUNTINGS = 3  # looks at the server's counts, after which each of the probe's statements was executed once
# The most frequent statements of this database. Those of which the user may not see the text have
# no queryid. The texts are in a file and are not read.
STATEMENT_COUNTS = f"""
SELECT {PROBE_COMMENT} queryid, sum(calls), sum(total_exec_time) / 1000 FROM pg_stat_statements(false)
WHERE queryid IS NOT NULL AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
GROUP BY queryid ORDER BY sum(calls) DESC LIMIT 200
"""


def pace(limit: str, dsn: str, *, probe: str = "") -> Pace:
    """Let the run go only as fast as a database stays within a limit for its other users.

    Args:
        limit: ``"1.5x"``, a multiple of the time that a probe takes without the run; or a time like
            ``"20ms"``.
        dsn: The database to protect.
        probe: A statement to measure instead of the small transaction; it stands for what other
            users do. It runs in a read-only transaction: a statement that writes is refused.

    Raises:
        UsageError: The limit or the DSN cannot be read, or the probe is more than one statement.

    Example::

        pace = postgres.pace("1.5x", "dbname=blog")
    """
    if not all(isinstance(text, str) for text in (dsn, probe)):
        raise UsageError("pace() has a DSN or a probe that is not a text.")
    check("pace()", dsn)
    return Pace(limit, DatabaseProbe(dsn, probe))


class DatabaseProbe:
    """A small transaction on a connection of its own, whose time is measured.

    Args:
        dsn: The database.
        statement: A statement to run instead, which only reads; "" for a small transaction with a
            read and a commit.
        clock: Function that returns seconds.

    Attributes:
        reads_only: Whether nothing can be committed there, so that slow commits are not noticed.

    Raises:
        UsageError: The statement is more than one.
    """

    def __init__(self, dsn: str, statement: str = "", clock: Callable[[], float] = time.perf_counter) -> None:
        self.reads_only = False
        self._probed: Callable[[], tuple[str, str, int, int] | None] = lambda: None
        self._dsn = dsn
        self._statement = _single(statement)
        self._clock = clock
        self._connection: Any = None
        self._messages: list[str] = []
        self._counts = True  # whether the server counts statements; False once it was found not to
        self._own: set[int] = set()  # the queryids of the probe's own statements
        self._countings = 0  # looks at the server's counts

    def __repr__(self) -> str:
        return "<probe of a PostgreSQL database>"  # no password

    def read_like(self, probed: Callable[[], tuple[str, str, int, int] | None]) -> None:
        """Read the run's table from now on, if it is in this database; a user's own statement
        stays.

        Args:
            probed: Function that returns the names of table and key, and the lowest and highest
                key; None if the source has no such table.
        """
        self._probed = probed

    def __call__(self) -> float:
        """Run the statement; return its seconds.

        Raises:
            Unknown: It could not be run.
        """
        if self._connection is None:
            self._ask(self._connect)
        return float(self._ask(self._time))

    def try_out(self) -> None:
        """Probe once before the run, and close the connection. A server that cannot be reached is
        no error: the run waits for it later.

        Raises:
            UsageError: The server refuses the connection or the user's statement for a reason that
                does not pass by itself, or the statement takes too long.
        """
        import psycopg2

        try:
            self._connect()
            taken = self._time()
            if self._statement and taken > LONGEST_STATEMENT_SECONDS:
                taken = self._time()  # its pages are in the server's memory now
        except psycopg2.Error as exc:
            why = without_password(said(exc), self._dsn)
            if is_final(exc):
                raise UsageError(f"The server refuses the connection of the probe: {why}") from None
            if self._statement and (is_refused(exc) or sqlstate(exc).startswith(TRANSACTION)):
                raise UsageError(
                    f"The server refuses the statement of the probe, which has to be one that only reads and runs in "
                    f"a read-only transaction: {why}"
                ) from None
        else:
            if self._statement and taken > LONGEST_STATEMENT_SECONDS:
                raise UsageError(
                    f"The statement of the probe takes {taken:.2g} s, and it is run about eight times a second: give "
                    "one that takes some milliseconds. With a slower one, a run would wait for minutes until it is "
                    "measured, and would never get faster."
                )
        finally:
            self.close()

    def sessions(self) -> frozenset[int] | None:
        """Return the process IDs of the sessions, without Taskmaster's own, that were at work in
        the last second; None if the user has no right to see them.

        Raises:
            Unknown: The server could not be asked.
        """
        found = self._ask(self._sessions)
        return None if any(hidden for _, hidden in found) else frozenset(pid for pid, _ in found)

    def statements(self) -> dict[int, tuple[int, float]] | None:
        """Return how often each statement of the database was executed, and for how many seconds in
        all; None where the server does not count them (``pg_stat_statements``) or does not show the
        counts to this user.

        Raises:
            Unknown: The server could not be asked.
        """
        return self._ask(self._statement_counts) if self._counts else None

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            dead_links.forget(connection)
            connection.close()

    def _ask(self, how: Callable[[], Any]) -> Any:
        import psycopg2

        try:
            return how()
        except psycopg2.Error as exc:
            self.close()
            first = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
            cure = f" ({MEND})" if is_final(exc) else ""
            raise Unknown(f"{without_password(first, self._dsn)}{cure}") from None

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Give a cursor; cut its connection if no answer comes in time, as when a proxy hangs: the
        run waits for the probe.
        """
        with dead_links.answer_within(self._connection, STATEMENT_SECONDS), self._connection.cursor() as cursor:
            yield cursor

    def _time(self) -> float:
        with self._cursor() as cursor:
            began = self._clock()
            for message in self._messages:
                cursor.execute(message)
            return self._clock() - began

    def _sessions(self) -> list[tuple[int, bool]]:
        if self._connection is None:
            self._connect()
        with self._cursor() as cursor:
            cursor.execute(f"{SETTINGS} {SESSIONS}")
            return list(cursor.fetchall())

    def _statement_counts(self) -> dict[int, tuple[int, float]] | None:
        import psycopg2

        if self._connection is None:
            self._connect()
        found = {}
        try:
            with self._cursor() as cursor:
                cursor.execute(f"{SETTINGS} {COUNTS}")
                if cursor.fetchone()[0]:
                    cursor.execute(f"{SETTINGS} {STATEMENT_COUNTS}")
                    found = {key: (int(calls), float(seconds)) for key, calls, seconds in cursor.fetchall()}
                    if self._countings < OWN_COUNTINGS:
                        self._countings += 1
                        cursor.execute(f"{SETTINGS} {OWN}")
                        self._own |= {key for (key,) in cursor.fetchall()}
        except psycopg2.Error:
            if self._connection.closed:
                raise
            logger.info("the server's count of statements cannot be read, so that the probe alone tells the pace")
        self._counts = bool(found)
        return {key: one for key, one in found.items() if key not in self._own} if found else None

    def _connect(self) -> None:
        import psycopg2

        if found := fault(self._dsn):
            raise Unknown(f"it {found}")
        self._connection = psycopg2.connect(complete(self._dsn, **SOON), application_name="taskmaster/probe")
        self._connection.autocommit = True
        dead_links.watch(self._connection)
        if self._statement:  # a user's: it is rolled back, whatever it does
            self._messages = [f"BEGIN READ ONLY; {SETTINGS} {self._statement}\n; ROLLBACK"]
        else:
            self._messages = [f"BEGIN; {SETTINGS}", *self._default(), "COMMIT"]

    def _default(self) -> list[str]:
        """Return a read by a key and, where writing is allowed, a statement that makes the commit
        wait for the disk.
        """
        with self._cursor() as cursor:
            cursor.execute(f"{SETTINGS} {MAY_WRITE}")
            self.reads_only = not cursor.fetchone()[0]
        read = self._read_of_table() or READ_OF_CATALOG
        return [read] if self.reads_only else [read, f"SELECT {PROBE_COMMENT} {COMMIT}"]

    def _read_of_table(self) -> str:
        """Return a read of a random row of the run's table; "" if it cannot be read here."""
        import psycopg2

        try:
            probed = self._probed()
        except Exception as exc:  # an error in the user's source is no reason to hold the run back
            logger.info("the probe reads a table of the server's own, because the source cannot tell its own: %s", exc)
            return ""
        if probed is None:
            return ""
        table, key, low, high = probed
        read = READ_ROW.format(table=table, key=key, low=low, width=high - low)
        try:
            with self._cursor() as cursor:
                cursor.execute(f"{SETTINGS} {read}")
        except psycopg2.ProgrammingError as exc:  # another database, or no right to read it
            logger.info("the probe reads a table of the server's own, because %s cannot be read there: %s", table, exc)
            return ""
        return read


def _single(statement: str) -> str:
    """Return a statement without white space around it.

    Raises:
        UsageError: It is several statements: one of them might end the read-only transaction.
    """
    plain = QUOTED_OR_COMMENT.sub(" ", statement)
    if ";" in plain.rstrip().removesuffix(";"):
        raise UsageError("The statement of the probe is several: give one that reads, without a semicolon in it.")
    return statement.strip()


def main(words: list[str]) -> int:
    """Print what the probe measures, as ``tm-ctl probe`` does; return the exit code."""
    from taskmaster.guards.probe_report import ProbeReport

    try:
        if len(words) != 1:
            raise UsageError("Usage: python -m taskmaster.postgres.probe DSN")
        check("DSN", words[0])
    except UsageError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    with closing(DatabaseProbe(words[0])) as probe:
        try:
            probe.try_out()
        except UsageError as exc:
            sys.stderr.write(f"{exc}\n")
            return exc.exit_code
        report = ProbeReport(probe)
        sys.stdout.write(f"{report.beginning(SHOWN_SECONDS, own=False)}\n")
        for line in report.lines(SHOWN_SECONDS):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    sys.stdout.write("".join(f"{line}\n" for line in report.summary()))
    return 0 if report.taken else ConnectError.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
