"""The measurements: ``python -m benchmarks.postgres``.

A table of 3 million rows of about 200 bytes; each measurement gets a fresh copy of it, and what is
compared is measured in the same round. Every figure includes starting and stopping. The server is
one of its own, with its files synchronised as in production.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg2

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres_server import Server, server  # noqa: E402  # the tests' server

from benchmarks.postgres.by_hand import pages  # noqa: E402
from benchmarks.postgres.foreground import MODULE, TM_RUN, foreground  # noqa: E402

ALL = ("read", "ranges", "adaptive", "values", "loop", "memory", "foreground")
RANGE = 20_000  # rows
LOOPED = 5_000  # rows that the loop is measured on: it would take an hour for all of them
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "8GB"}
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(0, 9999) n;
CREATE TABLE comments (id bigint PRIMARY KEY, author_id int NOT NULL, body text NOT NULL, author_name text);
INSERT INTO comments SELECT n, n % 10000, rpad('comment ' || n, 150, '.'), NULL FROM generate_series(1, {rows}) n;
CREATE TABLE many (id bigint PRIMARY KEY, n int);
INSERT INTO many SELECT n, n FROM generate_series(1, {many}) n;
"""
UPDATE = "UPDATE comments c SET author_name = u.name FROM users u WHERE u.id = c.author_id AND "
WRONG = "SELECT count(*) FROM comments WHERE author_name <> 'user ' || author_id"


class Pair(NamedTuple):
    """What is compared.

    Attributes:
        title: of the line.
        ours: the method of ``Bench`` with Taskmaster,
        theirs: and the one without.
        goal: how many times as fast Taskmaster should be.
    """

    title: str
    ours: str
    theirs: str
    goal: float


PAIRS = {
    "read": Pair("read all rows through rows", "read", "read_by_hand", 0.7),
    "ranges": Pair("backfill by ranges", "ranges", "ranges_in_psql", 0.9),
    "values": Pair("backfill by rows and execute_values", "values", "values_by_hand", 1.3),
}


class Bench:
    """One server, and what is measured on it.

    Args:
        on: the server.
        rows: of the table.
    """

    def __init__(self, on: Server, rows: int, many: int) -> None:
        self.on, self.rows, self.many = on, rows, many
        self._copies = 0
        on.execute("CREATE DATABASE base")
        on.execute(TABLES.format(rows=rows, many=many), database="base")
        on.execute("VACUUM ANALYZE", database="base")

    @contextmanager
    def copy(self) -> Iterator[str]:
        """A fresh copy of the tables."""
        self._copies += 1
        name = f"copy{self._copies}"
        # Copied as files: through the log, it would take longer than what is measured.
        self.on.execute(f"CREATE DATABASE {name} TEMPLATE base STRATEGY FILE_COPY")
        self.on.execute("CHECKPOINT")
        try:
            yield name
        finally:
            self.on.execute(f"DROP DATABASE {name}")

    def speed(self, work: str) -> float:
        """Rows a second of one of the methods, from the start of its first process to the end of
        the last.
        """
        with self.copy() as name:
            began = time.perf_counter()
            rows = getattr(self, work)(name)
            took = time.perf_counter() - began
            named = self.on.execute("SELECT count(*) FROM comments WHERE author_name IS NOT NULL", database=name)[0][0]
            wrong = self.on.execute(WRONG, database=name)[0][0]
        if wrong or named != (0 if work.startswith("read") else rows):
            raise SystemExit(f"{work} has named the authors of {named} rows of {rows}, {wrong} of them wrongly")
        return float(rows / took)

    def run(self, name: str, kind: str, **variables: str) -> int:
        """Taskmaster with two workers; gives how many rows it is done with."""
        with tempfile.TemporaryDirectory() as directory:
            environment = {**os.environ, "BENCH_DSN": self.on.dsn(name), "BENCH_KIND": kind, **variables}
            command = [str(TM_RUN), str(MODULE), "2", "--progress=lines"]
            done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{kind} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return self.rows

    def by_hand(self, name: str, kind: str) -> int:
        """A script without Taskmaster, in one process; gives how many rows it is done with."""
        command = [sys.executable, "-m", "benchmarks.postgres.by_hand", kind, self.on.dsn(name)]
        subprocess.run(command, cwd=ROOT, check=True)
        return self.rows

    # -- works: each is done with so many rows -----------------------------------------------------

    def read_by_hand(self, name: str) -> int:
        """A loop over pages that does nothing, in one process."""
        return self.by_hand(name, "read")

    def read(self, name: str) -> int:
        """``rows`` into jobs that do nothing."""
        return self.run(name, "read")

    def ranges_in_psql(self, name: str) -> int:
        """The same ranges, dealt out to two sessions of psql."""
        update = UPDATE + "c.id > {} AND c.id <= {};\n"
        with tempfile.TemporaryDirectory() as directory:
            sessions = []
            for session in range(2):
                file = Path(directory) / f"{session}.sql"
                starts = range(session * RANGE, self.rows, 2 * RANGE)
                file.write_text("".join(update.format(at, at + RANGE) for at in starts), "utf-8")
                sessions.append(
                    subprocess.Popen([self.on.binaries / "psql", "-q", "-d", self.on.dsn(name), "-f", file])
                )
            if any([session.wait() for session in sessions]):  # noqa: C419  # all are waited for
                raise SystemExit("psql failed")
        return self.rows

    def ranges(self, name: str) -> int:
        """``ranges`` of a fixed size."""
        return self.run(name, "ranges", BENCH_ROWS=str(RANGE))

    def adaptive_ranges(self, name: str) -> int:
        """``ranges`` as they come: a second each."""
        return self.run(name, "ranges", BENCH_ROWS="10000", BENCH_TARGET="1.0")

    def values_by_hand(self, name: str) -> int:
        """Pages and execute_values, in one process."""
        return self.by_hand(name, "values")

    def values(self, name: str) -> int:
        """``rows`` and ``handle_jobs`` with execute_values."""
        return self.run(name, "values")

    def loop(self, name: str) -> int:
        """A loop over the rows with an UPDATE and a commit for each, in one process; not over all
        of them.
        """
        count = min(LOOPED, self.rows)
        with psycopg2.connect(self.on.dsn(name)) as connection, connection.cursor() as cursor:
            for key, author in islice(chain.from_iterable(pages(connection, "id, author_id")), count):
                cursor.execute("UPDATE comments SET author_name = %s WHERE id = %s", (f"user {author}", key))
                connection.commit()
        connection.close()
        return count

    # -- memory ------------------------------------------------------------------------------------

    def memory(self, count: int) -> tuple[float, float]:
        """Most megabytes of the master, and of the slave with its workers, while so many rows are
        read.
        """
        with self.copy() as name, tempfile.TemporaryDirectory() as directory:
            self.on.execute("DELETE FROM many WHERE id > %s", count, database=name)
            environment = {**os.environ, "BENCH_DSN": self.on.dsn(name), "BENCH_KIND": "keys", "BENCH_TABLE": "many"}
            run = psutil.Popen(
                [str(TM_RUN), str(MODULE), "2", "--no-progress"],
                cwd=directory,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            masters, slaves = [0.0], [0.0]
            while run.poll() is None:
                masters.append(own(run))
                slaves.append(sum(own(child) for child in run.children(recursive=True)))
                time.sleep(0.1)
            if run.returncode:
                raise SystemExit(f"reading {count} rows ended with {run.returncode}")
        return max(masters), max(slaves)


def own(process: psutil.Process) -> float:
    """Megabytes that a process has for itself; those that it shares with its parent are counted
    there.
    """
    try:
        return float(process.memory_full_info().uss) / 1e6
    except psutil.Error:
        return 0.0


def spread(values: list[float], unit: str = "rows/s") -> str:
    """Median, and the least and the most."""
    return f"{statistics.median(values):,.0f} {unit} ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--many", type=int, default=10_000_000, help="rows of the table for the memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=30, help="of each run of pgbench")
    parser.add_argument("--only", default="", help=f"some of {','.join(ALL)}")
    parser.add_argument("--write", type=Path, help="put the table into this file, as reStructuredText")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(ALL)
    if unknown := set(wanted) - set(ALL):
        raise SystemExit(
            f"--only {options.only}: there is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}."
        )
    with server(DURABLE) as on:
        bench = Bench(on, options.rows, options.many)
        version = re.match(r"\S+ \S+", on.execute("SELECT version()")[0][0])
        conditions = (
            f"{version and version[0]}, Python {sys.version.split()[0]}, {os.cpu_count()} processors, "
            f"{options.rows:,} rows, median of {options.rounds} rounds (least to most)."
        )
        lines = [conditions, *report(bench, wanted, options.rounds, options.seconds)]
    print("\n".join(lines))
    if options.write:
        title = "What make bench-postgres printed"
        options.write.write_text(
            f"{title}\n{'=' * len(title)}\n\n::\n\n" + "".join(f"    {line}\n" for line in lines), "utf-8"
        )


def report(bench: Bench, wanted: list[str], rounds: int, seconds: int) -> list[str]:
    """A line for each figure."""
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    speeds = take_turns(bench, wanted, rounds)
    for name, pair in PAIRS.items():
        if name in wanted:
            ours, theirs = speeds[pair.ours], speeds[pair.theirs]
            by_hand = (getattr(Bench, pair.theirs).__doc__ or "").partition(".")[0]
            say(f"{pair.title}, 2 workers: {spread(ours)}; {by_hand}: {spread(theirs)}")
            say(f"    {statistics.median(ours) / statistics.median(theirs):.2f} times as fast (to reach: {pair.goal})")
    if "adaptive" in wanted:
        say(f"backfill by ranges of a second each, 2 workers: {spread(speeds['adaptive_ranges'])}")
    if "loop" in wanted:
        say(f"a loop with an UPDATE and a commit for each row: {spread(speeds['loop'])}")
        slow = statistics.median(speeds["loop"])
        for name in sorted({"ranges", "values"}.intersection(wanted)):
            say(f"    {PAIRS[name].title} is {statistics.median(speeds[name]) / slow:.0f} times as fast")
    for count in (bench.many // 10, bench.many) if "memory" in wanted else ():
        master, slave = bench.memory(count)
        say(f"memory with {count:,} rows: master {master:.0f} MB, slave with 2 workers {slave:.0f} MB")
    if "foreground" in wanted:
        foreground(bench.on, bench.copy, rounds, seconds, say)
    return lines


def take_turns(bench: Bench, wanted: list[str], rounds: int) -> dict[str, list[float]]:
    """Rows a second of each piece of work, measured once in each round."""
    works = [work for name in PAIRS if name in wanted for work in (PAIRS[name].theirs, PAIRS[name].ours)]
    works += ["adaptive_ranges"] if "adaptive" in wanted else []
    works += ["loop"] if "loop" in wanted else []
    found: dict[str, list[float]] = {work: [] for work in works}
    for round_ in range(rounds):
        for work in works:
            found[work].append(bench.speed(work))
            print(f"  round {round_ + 1}, {work}: {found[work][-1]:,.0f} rows/s", flush=True)
    return found


if __name__ == "__main__":
    main()
