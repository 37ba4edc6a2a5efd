"""Stories of pgbench and a backfill beside it, for ``benchmarks.postgres.pace``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.postgres_server import Server  # the tests' server

__all__ = ["DURABLE", "Stage", "Story"]

TM_RUN = Path(sys.executable).with_name("tm-run")
MODULE = Path(__file__).with_name("work.py")
DURABLE = {
    "fsync": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "8GB", "autovacuum": "off",
}  # fmt: skip
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(0, 9999) n;
CREATE TABLE comments (id bigint PRIMARY KEY, author_id int NOT NULL, body text NOT NULL, author_name text)
    WITH (fillfactor = 45);
INSERT INTO comments SELECT n, n % 10000, rpad('comment ' || n, 80, '.'), 'user ' || (n % 10000)
    FROM generate_series(1, {rows}) n;
"""
CALM_SECONDS = 30.0  # that a story waits at most for the disk


@dataclass
class Story:
    """What happened, in seconds since its beginning.

    Attributes:
        felt: When a transaction of pgbench ended, and how many milliseconds it took.
        rows: When a range was done, and its rows.
        said: What the progress gave as the reason, and when.
        alone: When nothing of the run was there: before it and, where pgbench goes on, after it.
        seconds: How long it was.
    """

    felt: list[tuple[float, float]] = field(default_factory=list)
    rows: list[tuple[float, float]] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)
    alone: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0

    def p95(self, *spans: tuple[float, float]) -> float:
        """The time in milliseconds within which 95 % of the transactions of some spans were."""
        found = sorted(taken for at, taken in self.felt if any(begin <= at < end for begin, end in spans))
        return found[int(0.95 * len(found))] if found else float("nan")

    def above(self, limit: float, begin: float, seconds: int) -> list[int]:
        """The seconds from ``begin`` on whose p95 is above a limit."""
        return [second for second in range(seconds) if self.p95((begin + second, begin + second + 1)) > limit]

    def within(self, limit: float, begin: float, seconds: int) -> int:
        """After how many seconds the p95 of all that comes then is within a limit: as many as there
        are if it never is. That of a single second is made of so few transactions that it is above
        the limit now and then, also where it is not in ten seconds together.
        """
        end = begin + seconds
        return next((second for second in range(seconds - 2) if self.p95((begin + second, end)) <= limit), seconds)

    def speed(self, begin: float, end: float) -> float:
        """Rows a second."""
        return sum(rows for at, rows in self.rows if begin <= at < end) / (end - begin)

    def middle_speed(self) -> float:
        """Rows a second from when three tenths of all were done until nineteen twentieths were."""
        whole, done = sum(rows for _, rows in self.rows), 0.0
        times = [at for at, rows in self.rows if 0.3 * whole <= (done := done + rows) <= 0.95 * whole]
        return 0.65 * whole / (times[-1] - times[0])


class Stage:
    """One server, and the stories that are played on it.

    Args:
        on: The server.
        rows: Of the table.
    """

    def __init__(self, on: Server, rows: int) -> None:
        self.on, self.dsn = on, on.dsn()
        on.execute(TABLES.format(rows=rows))
        subprocess.run([self.pgbench, "-i", "-q", "-s", "10", self.dsn], check=True, capture_output=True)

    @property
    def pgbench(self) -> str:
        """The program."""
        return str(self.on.binaries / "pgbench")

    def play(
        self,
        seconds: float,
        words: Sequence[str],
        *,
        begins: float = 0.0,
        loads: Sequence[tuple[float, int, float]] = (),
        target: float = 1.0,
        think: float = 0.0,
        until_done: bool = False,
        after: float = 0.0,
    ) -> Story:
        """Play a story.

        Args:
            seconds: How long it is.
            words: Options of the backfill.
            begins: When it begins.
            loads: Of pgbench: when each begins, its transactions a second, and its seconds.
            target: Seconds of a range.
            think: Times as long as its range took that a worker sleeps then.
            until_done: It ends with the backfill.
            after: For how long pgbench goes on when the backfill has been stopped.
        """
        self.on.execute("VACUUM")
        self.on.execute("CHECKPOINT")
        os.sync()  # else what an earlier story has left would be written during this one
        story = Story()
        with tempfile.TemporaryDirectory() as directory:
            _wait_for_calm(Path(directory))
            began, epoch = time.monotonic(), time.time()
            benches = [threading.Thread(target=self._bench, args=(directory, began, load)) for load in loads]
            for bench in benches:
                bench.start()
            with self._backfill(directory, story, began, begins, words, target, think) as running:
                while time.monotonic() - began < seconds and not (until_done and running.poll() is not None):
                    time.sleep(0.1)
            story.seconds = time.monotonic() - began
            story.alone = [(1.0, begins), (story.seconds + 1, seconds + after)]
            for bench in benches:
                bench.join()
            story.rows = sorted((at - epoch, rows) for at, rows in _logged(directory, "rows-*", 0, 1))
            story.felt = sorted(
                (second + micro / 1e6 - epoch, taken / 1000)
                for taken, second, micro in _logged(directory, "log-*", 2, 4, 5)
            )
        return story

    def _bench(self, directory: str, began: float, load: tuple[float, int, float]) -> None:
        at, rate, seconds = load
        time.sleep(max(0.0, began + at - time.monotonic()))
        log = f"--log-prefix={directory}/log-{at:g}"
        command = [self.pgbench, "-n", "-c", "4", "-R", str(rate), "-T", f"{seconds:.0f}", "-l", log, self.dsn]
        subprocess.run(command, check=True, capture_output=True)

    @contextmanager
    def _backfill(
        self,
        directory: str,
        story: Story,
        began: float,
        begins: float,
        words: Sequence[str],
        target: float,
        think: float,
    ) -> Iterator[subprocess.Popen[str]]:
        time.sleep(max(0.0, began + begins - time.monotonic()))
        environment = {
            **os.environ, "BENCH_DSN": self.dsn, "BENCH_KIND": "ranges", "BENCH_ROWS": "200" if target < 1 else "10000",
            "BENCH_TARGET": str(target), "BENCH_LOG": directory, "BENCH_THINK": str(think),
        }  # fmt: skip
        command = [str(TM_RUN), str(MODULE), "2", "--reset", "--progress=json", *words]
        running = subprocess.Popen(
            command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

        def listen() -> None:
            for line in running.stdout or ():
                if line.startswith('{"event": "progress"'):
                    story.said.append((time.monotonic() - began, json.loads(line)["reason"]))

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield running
        finally:
            running.terminate()
            code = running.wait()
            listener.join()
        if code not in (0, 143, -signal.SIGTERM):
            raise SystemExit(f"the backfill ended with {code}")


def _wait_for_calm(folder: Path) -> None:
    """Wait until a small write to the disk takes as long as it should: what came before is still
    being written.
    """
    deadline, in_a_row = time.monotonic() + CALM_SECONDS, 0
    with (folder / "calm").open("wb", buffering=0) as file:
        while in_a_row < 40 and time.monotonic() < deadline:
            began = time.monotonic()
            file.write(b"." * 8192)
            os.fsync(file.fileno())
            in_a_row = in_a_row + 1 if time.monotonic() - began < 0.005 else 0
            time.sleep(0.025)


def _logged(directory: str, pattern: str, *columns: int) -> Iterator[tuple[float, ...]]:
    """The numbers in columns of files."""
    for file in Path(directory).glob(pattern):
        for line in file.read_text("utf-8").splitlines():
            words = line.split()
            yield tuple(float(words[column]) for column in columns)
