"""The probe: what others feel of a database, as the time that a small transaction takes, with a
read and an empty durable commit, over a connection of its own.

Each of its four statements is sent when the one before has been answered, as those of others are: a
run that others meet at any of theirs would be met by a single statement much more seldom.

It takes its time about eight times a second, in a thread of the master's own. It needs no rights
beside those to connect. Behind a pooler, each probe is one transaction, and nothing is set
or prepared that outlasts it. On a standby, and where nothing may be written, it only reads.
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

LONGEST_STATEMENT_SECONDS = 0.5  # that a statement of the user's may take; a second without an answer slows a run
SHOWN_SECONDS = 10.0  # for which it is shown in a terminal

PROBE_COMMENT = "/* taskmaster */"  # in the probe's own statements, which are none of others
SETTINGS = settings(PROBE_COMMENT)  # in one transaction with the statement, after which they are gone, as with guards
# By the key of an index, as others read.
READ_OF_CATALOG = f"SELECT {PROBE_COMMENT} relname FROM pg_catalog.pg_class WHERE oid = 1259"
# Of a row anywhere in the table. The key is chosen before the table is looked at, as a number of
# any size: between the lowest and the highest of random keys there is more than a bigint holds.
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
TRANSACTION = "25"  # codes of what the transaction is not for, as of a write in one that reads only
MEND = "until somebody mends the name, the password or the right, there or in the DSN of the pace"
# The sessions that have been at work in the last second. Those of Taskmaster have its name, unless
# a program gave them another one. A user who may not see what others do has no answer, instead of a
# wrong one.
SESSIONS = f"""
SELECT {PROBE_COMMENT} pid, state IS NULL FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'taskmaster%'
      AND (state IS NULL OR state = 'active' OR query_start > clock_timestamp() - interval '1 second')
"""
# Asked first, so that no error stands in the server's log.
COUNTS = f"""
SELECT {PROBE_COMMENT} to_regprocedure('pg_stat_statements(boolean)') IS NOT NULL
       AND current_setting('server_version_num')::int >= 130000
"""
# With them those that begin and end a transaction, which the server counts as one statement with
# others' own: the probe's would be taken for theirs, and these take no time of their own.
OWN = """
SELECT queryid FROM pg_stat_statements(true)
WHERE query LIKE '%' || $$/* taskmaster */$$ || '%' OR lower(btrim(query, ' ;')) IN ('begin', 'commit')
"""
OWN_LOOKS = 3  # at the count of statements, after which all of its statements have been executed
# The most frequent statements of this database: those whose texts the user may not see have no
# number. The texts themselves, which are in a file, are not read.
STATEMENT_COUNTS = f"""
SELECT {PROBE_COMMENT} queryid, sum(calls), sum(total_exec_time) / 1000 FROM pg_stat_statements(false)
WHERE queryid IS NOT NULL AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
GROUP BY queryid ORDER BY sum(calls) DESC LIMIT 200
"""


def pace(limit: str, dsn: str, *, probe: str = "") -> Pace:
    """Let the run go as fast as a database allows: others' statements stay within a limit.

    Args:
        limit: ``"1.5x"``, as many times of what a probe takes without the run, or a time like
            ``"20ms"``.
        dsn: The database that is to be spared.
        probe: A statement that stands for what others do; by default a small transaction
            with a read. It runs in a transaction that is read only: one that writes is refused.

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
    """A statement on a connection of its own, and the time that it takes.

    Args:
        dsn: The database.
        statement: The statement, which can only read; "" for a small transaction with a read.
        clock: Gives seconds.

    Attributes:
        reads_only: Nothing can be committed there, so that commits of others are not felt.

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
        self._counts = True  # the server counts statements, for all that is known
        self._own: set[int] = set()  # the numbers of the probe's own statements
        self._looks = 0  # at what the server counts

    def __repr__(self) -> str:
        return "<probe of a PostgreSQL database>"  # no password

    def read_like(self, probed: Callable[[], tuple[str, str, int, int] | None]) -> None:
        """Read the table of a run, if it is in this database; the user's own statement stays.

        Args:
            probed: Gives the names of table and key, and the lowest and highest key.
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
        """Probe once before there is a run, and close the connection. A server that is not there,
        or not yet, is waited for later.

        Raises:
            UsageError: It is refused for a reason that does not pass by itself, or a statement of
                the user's takes too long.
        """
        import psycopg2

        try:
            self._connect()
            taken = self._time()
            if self._statement and taken > LONGEST_STATEMENT_SECONDS:
                taken = self._time()  # what it reads is in memory now
        except psycopg2.Error as exc:
            why = without_password(said(exc), self._dsn)
            if is_final(exc):
                raise UsageError(f"The server refuses the connection of the probe: {why}") from None
            if self._statement and (is_refused(exc) or sqlstate(exc).startswith(TRANSACTION)):
                raise UsageError(
                    f"The server refuses the statement of the probe, which is one that reads, in a transaction that "
                    f"is read only: {why}"
                ) from None
        else:
            if self._statement and taken > LONGEST_STATEMENT_SECONDS:
                raise UsageError(
                    f"The statement of the probe takes {taken:.2g} s, and it is run about eight times a second: give "
                    "one that takes some milliseconds. A run would have to wait for minutes for a slower one to be "
                    "measured, and would never get faster."
                )
        finally:
            self.close()

    def sessions(self) -> frozenset[int] | None:
        """Return the process numbers of sessions, beside Taskmaster's own, that were at work in the
        last second; None if that may not be seen.

        Raises:
            Unknown: It could not be asked.
        """
        found = self._ask(self._sessions)
        return None if any(hidden for _, hidden in found) else frozenset(pid for pid, _ in found)

    def statements(self) -> dict[int, tuple[int, float]] | None:
        """Return how often each statement of the database was executed, and the seconds that took;
        None where the server does not count them (``pg_stat_statements``), or not for this user.

        Raises:
            Unknown: It could not be asked.
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
        """Give a cursor whose connection is cut if no answer comes in time: the run waits for the
        probe meanwhile, and a proxy between may hang.
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
                    if (looks := self._looks) < OWN_LOOKS:
                        self._looks = looks + 1
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
        if self._statement:  # of a user, who may have meant to try it only
            self._messages = [f"BEGIN READ ONLY; {SETTINGS} {self._statement}\n; ROLLBACK"]
        else:
            self._messages = [f"BEGIN; {SETTINGS}", *self._default(), "COMMIT"]

    def _default(self) -> list[str]:
        """Return a read by a key, and what makes the commit wait for the disk if that can be."""
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
        except Exception as exc:  # of the user's source: that one is no reason to wait
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
    """Return a statement without what ends it.

    Raises:
        UsageError: It is several: one of them might end the transaction that can only read.
    """
    plain = QUOTED_OR_COMMENT.sub(" ", statement)
    if ";" in plain.rstrip().removesuffix(";"):
        raise UsageError("The statement of the probe is several: give one that reads, without a semicolon in it.")
    return statement.strip()


def main(words: list[str]) -> int:
    """Print what the probe finds, as ``tm-ctl probe`` does; return the exit code."""
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
