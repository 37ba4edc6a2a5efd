"""The measurements: ``python -m benchmarks.postgres``.

A table of 3 million rows of about 200 bytes; each measurement gets a fresh copy of it, and what is compared is measured
in the same round. Every figure includes starting and stopping. The server is one of its own, with its files
synchronised as in production.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import psycopg2

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "postgres"))

from server import Server, server  # noqa: E402  # the tests' server

MODULE = ROOT / "benchmarks" / "postgres" / "work.py"
ALL = ("read", "ranges", "adaptive", "values", "loop", "memory", "foreground")
RANGE = 20_000  # rows
PAGE = 10_000  # rows
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
UNNAMED = "SELECT count(*) FROM comments WHERE author_name IS DISTINCT FROM 'user ' || author_id"


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

    def timed(self, what: Callable[[str], None], *, named: bool) -> float:
        """Rows a second, from the start of the first process to the end of the last."""
        with self.copy() as name:
            began = time.perf_counter()
            what(name)
            took = time.perf_counter() - began
            if named and (left := self.on.execute(UNNAMED, database=name)[0][0]):
                raise SystemExit(f"{left} rows have no name after {what.__name__}")
        return self.rows / took

    def run(self, name: str, kind: str, *words: str, **variables: str) -> str:
        """Taskmaster with two workers; gives what it printed."""
        with tempfile.TemporaryDirectory() as directory:
            tm_run = Path(sys.executable).with_name("tm-run")
            environment = {**os.environ, "BENCH_DSN": self.on.dsn(name), "BENCH_KIND": kind, **variables}
            command = [str(tm_run), str(MODULE), "2", "--progress=lines", *words]
            done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 75):
            raise SystemExit(f"{kind} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stderr

    # -- reading -----------------------------------------------------------------------------------------------------

    def read_by_hand(self, name: str) -> None:
        """A loop over pages that does nothing, in one process."""
        subprocess.run(
            [sys.executable, "-m", "benchmarks.postgres.by_hand", "read", self.on.dsn(name)], cwd=ROOT, check=True
        )

    def read(self, name: str) -> None:
        """``rows`` into jobs that do nothing."""
        self.run(name, "read")

    # -- backfills ---------------------------------------------------------------------------------------------------

    def ranges_in_psql(self, name: str) -> None:
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

    def ranges(self, name: str) -> None:
        """``ranges`` of a fixed size."""
        self.run(name, "ranges", BENCH_ROWS=str(RANGE))

    def adaptive_ranges(self, name: str) -> None:
        """``ranges`` as they come: a second each."""
        self.run(name, "ranges", BENCH_ROWS="10000", BENCH_TARGET="1.0")

    def values_by_hand(self, name: str) -> None:
        """Pages and execute_values, in one process."""
        subprocess.run(
            [sys.executable, "-m", "benchmarks.postgres.by_hand", "values", self.on.dsn(name)], cwd=ROOT, check=True
        )

    def values(self, name: str) -> None:
        """``rows`` and ``handle_jobs`` with execute_values."""
        self.run(name, "values")

    def loop(self, name: str, count: int) -> float:
        """An UPDATE and a commit for each row; rows a second."""
        with psycopg2.connect(self.on.dsn(name)) as connection, connection.cursor() as cursor:
            began = time.perf_counter()
            for key in range(1, count + 1):
                cursor.execute("SELECT author_id FROM comments WHERE id = %s", (key,))
                (author,) = cursor.fetchone() or (None,)
                cursor.execute("UPDATE comments SET author_name = %s WHERE id = %s", (f"user {author}", key))
                connection.commit()
            took = time.perf_counter() - began
        connection.close()
        return count / took

    # -- memory ------------------------------------------------------------------------------------------------------

    def memory(self, count: int) -> tuple[float, float]:
        """Most megabytes of the master, and of the slave with its workers, while so many rows are read."""
        with self.copy() as name, tempfile.TemporaryDirectory() as directory:
            self.on.execute("DELETE FROM many WHERE id > %s", count, database=name)
            tm_run = Path(sys.executable).with_name("tm-run")
            environment = {**os.environ, "BENCH_DSN": self.on.dsn(name), "BENCH_KIND": "keys", "BENCH_TABLE": "many"}
            run = psutil.Popen(
                [str(tm_run), str(MODULE), "2", "--no-progress"],
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

    # -- beside a foreground -----------------------------------------------------------------------------------------

    def foreground(self, seconds: int, words: list[str] | None, **variables: str) -> tuple[float, float]:
        """95 % of pgbench's transactions take no longer than so many ms; and rows a second of the backfill."""
        with self.copy() as name, tempfile.TemporaryDirectory() as directory:
            pgbench, dsn = str(self.on.binaries / "pgbench"), self.on.dsn(name)
            subprocess.run([pgbench, "-i", "-q", "-s", "10", dsn], check=True, capture_output=True)
            self.on.execute("CHECKPOINT")
            with nullcontext() if words is None else self._backfilling(directory, dsn, words, variables):
                before = self._updated(name)
                log = ["-l", f"--log-prefix={directory}/log"]
                subprocess.run(
                    [pgbench, "-c", "4", "-R", "100", "-T", str(seconds), *log, dsn], check=True, capture_output=True
                )
                moved = (self._updated(name) - before) / seconds
            lines = [line for file in Path(directory).glob("log*") for line in file.read_text().splitlines()]
        latencies = sorted(int(line.split()[2]) / 1000 for line in lines)
        return latencies[int(0.95 * len(latencies))], moved

    @contextmanager
    def _backfilling(self, directory: str, dsn: str, words: list[str], variables: dict[str, str]) -> Iterator[None]:
        """Backfill, and begin anew whenever that has ended, as long as the block runs."""
        tm_run = Path(sys.executable).with_name("tm-run")
        environment = {**os.environ, "BENCH_DSN": dsn, "BENCH_KIND": "ranges", **variables}
        words = [word.replace("DSN", dsn) for word in words]
        command = [str(tm_run), str(MODULE), "2", "--no-progress", "--reset", *words]
        turn, over, running, codes = threading.Lock(), threading.Event(), [], []

        def again() -> None:
            while not any(codes):
                with turn:
                    if over.is_set():
                        return
                    running[:] = [subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.DEVNULL)]
                codes.append(running[0].wait())

        thread = threading.Thread(target=again)
        thread.start()
        time.sleep(3)  # until it is under way
        try:
            yield
        finally:
            with turn:
                over.set()
                for process in running:
                    process.terminate()
            thread.join()
        # One that had only just begun again does not know yet what to do with the signal.
        if any(codes[:-1]) or codes[-1] not in (0, 143, -signal.SIGTERM):
            raise SystemExit(f"the backfill beside the foreground ended with {codes}")

    def _updated(self, name: str) -> int:
        rows = self.on.execute("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'comments'", database=name)
        return int(rows[0][0])


def own(process: psutil.Process) -> float:
    """Megabytes that a process has for itself; those that it shares with its parent are counted there."""
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

    def side_by_side(
        title: str, goal: float, ours: Callable[[str], None], theirs: Callable[[str], None], named: bool
    ) -> float:
        mine, others = [], []
        for round_ in range(rounds):
            others.append(bench.timed(theirs, named=named))
            mine.append(bench.timed(ours, named=named))
            print(f"  {title}, round {round_ + 1}: {mine[-1]:,.0f} and {others[-1]:,.0f} rows/s", flush=True)
        ratio = statistics.median(mine) / statistics.median(others)
        say(f"{title}: {spread(mine)}; {theirs.__doc__.partition('.')[0] if theirs.__doc__ else ''}: {spread(others)}")
        say(f"    {ratio:.2f} times as fast (to reach: {goal})")
        return statistics.median(mine)

    fast: dict[str, float] = {}
    if "read" in wanted:
        side_by_side("read all rows through rows, 2 workers", 0.7, bench.read, bench.read_by_hand, named=False)
    if "ranges" in wanted:
        fast["ranges"] = side_by_side(
            "backfill by ranges, 2 workers", 0.9, bench.ranges, bench.ranges_in_psql, named=True
        )
    if "adaptive" in wanted:
        adaptive = [bench.timed(bench.adaptive_ranges, named=True) for _ in range(rounds)]
        say(f"backfill by ranges of a second each, 2 workers: {spread(adaptive)}")
    if "values" in wanted:
        fast["rows and execute_values"] = side_by_side(
            "backfill by rows and execute_values, 2 workers", 1.3, bench.values, bench.values_by_hand, named=True
        )
    if "loop" in wanted:
        with bench.copy() as name:
            slow = bench.loop(name, min(20_000, bench.rows))
        say(f"a loop with an UPDATE and a commit for each row: {slow:,.0f} rows/s")
        lines += [f"    {what} is {rate / slow:.0f} times as fast" for what, rate in fast.items()]
    for count in (bench.many // 10, bench.many) if "memory" in wanted else ():
        master, slave = bench.memory(count)
        say(f"memory with {count:,} rows: master {master:.0f} MB, slave with 2 workers {slave:.0f} MB")
    if "foreground" in wanted:
        foreground(bench, rounds, seconds, say)
    return lines


def foreground(bench: Bench, rounds: int, seconds: int, say: Callable[[str], None]) -> None:
    """A foreground alone, beside a backfill that is held back, and beside one that is not."""
    guards = ["--guard=active_connections=4@DSN", "--guard=locks_waiting=0@DSN"]
    small = {"BENCH_ROWS": "200", "BENCH_TARGET": "0.02"}
    ways: list[tuple[str, list[str] | None, dict[str, str]]] = [
        ("alone (4 clients, 100 transactions a second)", None, {}),
        ("beside a backfill with guards on and a rate of 10 ranges a second", [*guards, "--rate=10"], small),
        ("beside a backfill with guards on", guards, small),
        ("beside a backfill without guards, ranges of a second", [], {"BENCH_ROWS": "10000", "BENCH_TARGET": "1.0"}),
    ]
    found: dict[str, list[tuple[float, float]]] = {what: [] for what, _, _ in ways}
    for _ in range(rounds):
        for what, words, variables in ways:
            found[what].append(bench.foreground(seconds, words, **variables))
            print(f"  pgbench {what}: p95 {found[what][-1][0]:.1f} ms", flush=True)
    base = statistics.median(p95 for p95, _ in found[ways[0][0]])
    for what, _, _ in ways:
        p95 = [p95 for p95, _ in found[what]]
        moved = statistics.median(rate for _, rate in found[what])
        say(
            f"pgbench {what}: p95 {statistics.median(p95):.1f} ms ({min(p95):.1f} to {max(p95):.1f}), "
            f"{statistics.median(p95) / base:.2f} times" + (f"; {moved:,.0f} rows/s are updated" if moved else "")
        )


if __name__ == "__main__":
    main()
