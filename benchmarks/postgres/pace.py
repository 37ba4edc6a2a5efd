"""What others feel of a run with ``--pace``, and how fast it is.

``python -m benchmarks.postgres.pace``

pgbench (4 clients, 100 transactions a second) is in the foreground; it is alone at first, and the
backfill begins beside it. What is measured counts from when the run has found its pace. The server
is one of its own, with its files synchronised as in production. The default takes about a quarter
of an hour, and needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres_server import Server, server, standby  # noqa: E402  # the tests' server

from benchmarks.postgres.timeline import Panel, draw  # noqa: E402
from taskmaster.guards.probe_report import ProbeReport  # noqa: E402
from taskmaster.postgres.probe import DatabaseProbe  # noqa: E402

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
GRID = [(0.02, 5), (0.02, 10), (0.02, 20), (0.1, 2), (0.1, 4)]  # seconds of a range, ranges a second
PARTS = ("cost", "pace", "grid", "tripled", "nobody", "standby")


@dataclass
class Story:
    """What happened, in seconds since its beginning.

    Attributes:
        felt: When a transaction of pgbench ended, and how many milliseconds it took.
        rows: How many rows were updated by when.
        said: What the progress gave as the reason, and when.
        other: More that was sampled once a second.
    """

    felt: list[tuple[float, float]] = field(default_factory=list)
    rows: list[tuple[float, float]] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)
    other: list[tuple[float, float]] = field(default_factory=list)

    def p95(self, begin: float, end: float) -> float:
        """The time in milliseconds within which 95 % of the transactions were."""
        found = sorted(taken for at, taken in self.felt if begin <= at < end)
        return found[int(0.95 * len(found))] if found else float("nan")

    def speed(self, begin: float, end: float) -> float:
        """Rows a second."""
        found = [one for one in self.rows if begin <= one[0] < end]
        return (found[-1][1] - found[0][1]) / (found[-1][0] - found[0][0]) if len(found) > 1 else 0.0


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
        words: Sequence[str] | None,
        *,
        begins: float = 0.0,
        loads: Sequence[tuple[float, int, float]] = (),
        target: float = 1.0,
        until_done: bool = False,
    ) -> Story:
        """Play a story.

        Args:
            seconds: How long it is.
            words: Options of the backfill; None: there is none.
            begins: When it begins.
            loads: Of pgbench: when each begins, its transactions a second, and its seconds.
            target: Seconds of a range.
            until_done: It ends with the backfill.
        """
        self.on.execute("VACUUM")
        self.on.execute("CHECKPOINT")
        story, over = Story(), threading.Event()
        with tempfile.TemporaryDirectory() as directory:
            began, epoch = time.monotonic(), time.time()
            sampler = threading.Thread(target=self._sample, args=(story, began, over))
            sampler.start()
            benches = [threading.Thread(target=self._bench, args=(directory, began, load)) for load in loads]
            for bench in benches:
                bench.start()
            with self._backfill(directory, story, began, begins, words, target) as running:
                while time.monotonic() - began < seconds and not (
                    until_done and running and running[0].poll() is not None
                ):
                    time.sleep(0.2)
            ended = time.monotonic() - began
            time.sleep(2.0)  # a session tells of its last rows a second later
            over.set()
            for thread in (sampler, *benches):
                thread.join()
            story.rows = [one for one in story.rows if one[0] <= ended] + [(ended, story.rows[-1][1])]
            for file in Path(directory).glob("log*"):
                for line in file.read_text("utf-8").splitlines():
                    _, _, taken, _, second, micro, *_ = line.split()
                    story.felt.append((int(second) + int(micro) / 1e6 - epoch, int(taken) / 1000))
        story.felt.sort()
        return story

    def _bench(self, directory: str, began: float, load: tuple[float, int, float]) -> None:
        at, rate, seconds = load
        time.sleep(max(0.0, began + at - time.monotonic()))
        log = f"--log-prefix={directory}/log-{at:g}"
        command = [self.pgbench, "-n", "-c", "4", "-R", str(rate), "-T", f"{seconds:.0f}", "-l", log, self.dsn]
        subprocess.run(command, check=True, capture_output=True)

    def _sample(self, story: Story, began: float, over: threading.Event) -> None:
        last = False
        # With Taskmaster's name, so that it is nobody who could be spared.
        with closing(psycopg2.connect(self.dsn, application_name="taskmaster/benchmark")) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not last:
                last = over.wait(0.5)
                cursor.execute("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'comments'")
                story.rows.append((time.monotonic() - began, float(cursor.fetchone()[0])))

    @contextmanager
    def _backfill(
        self, directory: str, story: Story, began: float, begins: float, words: Sequence[str] | None, target: float
    ) -> Iterator[list[subprocess.Popen[str]]]:
        running: list[subprocess.Popen[str]] = []
        if words is None:
            yield running
            return
        time.sleep(max(0.0, began + begins - time.monotonic()))
        rows = "200" if target < 1 else "10000"
        environment = {
            **os.environ, "BENCH_DSN": self.dsn, "BENCH_KIND": "ranges",
            "BENCH_ROWS": rows, "BENCH_TARGET": str(target),
        }  # fmt: skip
        command = [str(TM_RUN), str(MODULE), "2", "--reset", "--progress=json", *words]
        running.append(
            subprocess.Popen(command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
        )  # fmt: skip

        def listen() -> None:
            for line in running[0].stdout or ():
                if line.startswith('{"event": "progress"'):
                    story.said.append((time.monotonic() - began, json.loads(line)["reason"]))

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield running
        finally:
            running[0].terminate()
            code = running[0].wait()
            listener.join()
        if code not in (0, 143, -signal.SIGTERM):
            raise SystemExit(f"the backfill ended with {code}")


class Report:
    """The table, as it grows.

    Args:
        settle: Seconds that a run has to find its pace.
        measured: Seconds that count then.
        rounds: How often each is played.
    """

    def __init__(self, stage: Stage, settle: float, measured: float, rounds: int) -> None:
        self.stage, self.settle, self.measured, self.rounds = stage, settle, measured, rounds
        self.lines: list[str] = []
        self.panels: list[Panel] = []
        self.alone = 10.0
        self.speeds: dict[str, float] = {}

    def say(self, line: str) -> None:
        """Take a line."""
        print(line, flush=True)
        self.lines.append(line)

    def _beside(self, words: Sequence[str], settle: float, target: float = 1.0) -> tuple[float, float, Story]:
        """How many times as long the foreground takes, and rows a second."""
        end = self.alone + settle + self.measured
        story = self.stage.play(end, words, begins=self.alone, loads=[(0, 100, end)], target=target)
        p95 = story.p95(self.alone + settle, end)
        return p95 / story.p95(1, self.alone), story.speed(self.alone + settle, end), story

    def cost(self) -> None:
        """The probe itself, at its ten times a second."""
        with closing(DatabaseProbe(self.stage.dsn)) as probe:
            report = ProbeReport(probe)
            list(report.lines(2))
            sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'taskmaster/probe'"
            backend = psutil.Process(self.stage.on.execute(sql)[0][0])
            before, began = sum(backend.cpu_times()[:2]), time.monotonic()
            list(report.lines(10))
            there = (sum(backend.cpu_times()[:2]) - before) / (time.monotonic() - began)
        self.say(
            f"the probe: {100 * report.core:.2f} % of a core for the master, {100 * there:.2f} % for the server "
            "(to reach: 1 together)"
        )

    def pace(self) -> None:
        """``--pace`` and nothing else."""
        for limit in ("1.5x", "3x"):
            found = [self._beside([f"--pace={limit}@{self.stage.dsn}"], self.settle) for _ in range(self.rounds)]
            times, speeds = [one[0] for one in found], [one[1] for one in found]
            self.speeds[limit] = statistics.median(speeds)
            self.say(
                f"pgbench beside --pace={limit}: p95 {statistics.median(times):.2f} times alone "
                f"({min(times):.2f} to {max(times):.2f}); {self.speeds[limit]:,.0f} rows/s "
                f"({min(speeds):,.0f} to {max(speeds):,.0f}); at last: {_last(found[-1][2])}"
            )
            self.panels.append(
                _panel(f"--pace={limit}, from {self.alone:.0f} s on", found[-1][2], float(limit[:-1]), self.alone)
            )

    def grid(self) -> None:
        """Fixed settings, as somebody would try them out."""
        best = 0.0
        for target, rate in GRID:
            times, speed, _ = self._beside([f"--rate={rate}"], 4.0, target)
            best = max(best, speed if times <= 1.5 else 0.0)
            self.say(
                f"pgbench beside target={target:g}, --rate={rate}: p95 {times:.2f} times alone; {speed:,.0f} rows/s"
            )
        if best and "1.5x" in self.speeds:
            share = self.speeds["1.5x"] / best
            self.say(
                f"--pace=1.5x has {share:.2f} of the rows/s of the best of these that holds 1.5 times (to reach: 0.7)"
            )

    def tripled(self) -> None:
        """A foreground that triples for 20 s."""
        first, begin = self.alone + 6, self.alone + 6 + self.settle + 10
        end = begin + 20 + 35
        loads = [(0.0, 100, end), (self.alone, 200, 6.0), (begin, 200, 20.0)]
        story = self.stage.play(end, [f"--pace=1.5x@{self.stage.dsn}"], begins=first, loads=loads)
        limit = 1.5 * story.p95(self.alone + 0.5, first)
        over = [second for second in range(20) if story.p95(begin + second, begin + second + 1) > limit]
        last = max(over, default=-1) + 1
        before = story.speed(begin - 15, begin)
        back = next(
            (s for s in range(1, 33) if story.speed(begin + 20 + s - 3, begin + 20 + s + 1) >= 0.7 * before), None
        )
        self.say(
            "the foreground triples for 20 s: p95 of a second is above 1.5 times that of three times the load alone "
            f"in {len(over)} of the 20 s, the last of them the {last}. (to reach: 3); 0.7 of the rows/s are back after "
            f"{'more than 32' if back is None else back} s"
        )
        self.panels.append(
            _panel(f"three times the load from {begin:.0f} to {begin + 20:.0f} s", story, 1.5, self.alone)
        )

    def nobody(self) -> None:
        """No foreground at all."""
        speeds: dict[str, list[float]] = {"--pace=off": [], f"--pace=1.5x@{self.stage.dsn}": []}
        for _ in range(self.rounds):
            for word, found in speeds.items():
                story = self.stage.play(90, [word], until_done=True)
                whole = story.rows[-1][1] - story.rows[0][1]
                parts = [at for at, done in story.rows if 0.3 <= (done - story.rows[0][1]) / whole <= 0.95]
                found.append(story.speed(parts[0], parts[-1]) if len(parts) > 1 else whole / story.rows[-1][0])
        without, with_pace = (statistics.median(found) for found in speeds.values())
        self.say(
            f"nobody else: {with_pace:,.0f} rows/s with --pace=1.5x once it has begun, {without:,.0f} without it: "
            f"{with_pace / without:.2f} times (to reach: 0.9)"
        )

    def standby(self) -> None:
        """A standby that is slow: its recovery is paused for two of four seconds."""
        with standby(self.stage.on) as slow:
            over = threading.Event()
            lags: list[float] = []

            def pause() -> None:
                while not over.is_set():
                    slow.execute("SELECT pg_wal_replay_pause()")
                    over.wait(2.0)
                    slow.execute("SELECT pg_wal_replay_resume()")
                    over.wait(2.0)

            def watch() -> None:
                sql = (
                    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 "
                    "ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
                )
                while not over.wait(0.25):
                    lags.append(float(slow.execute(sql)[0][0] or 0))

            threads = [threading.Thread(target=one) for one in (pause, watch)]
            for thread in threads:
                thread.start()
            try:
                story = self.stage.play(60, [f"--guard=replication_lag=5s@{slow.dsn()}"], until_done=True)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
        slowed = [at for at, reason in story.said if "slowed to" in reason]
        stopped = [at for at, reason in story.said if re.search("replication lag .* above", reason)]
        self.say(
            f"a slowed standby with --guard=replication_lag=5s: lag at most {max(lags):.1f} s (to reach: 6); "
            f"{story.speed(2, 60):,.0f} rows/s; slowed in {len(slowed)} and stopped in {len(stopped)} of "
            f"{len(story.said)} looks; slowed first after {min(slowed, default=float('nan')):.0f} s, stopped first "
            f"after {min(stopped, default=float('nan')):.0f} s"
        )


def _last(story: Story) -> str:
    """Return what was said of the pace last."""
    return next((reason for _, reason in reversed(story.said) if reason.startswith("pace ")), "nothing")


def _panel(title: str, story: Story, times: float, alone: float) -> Panel:
    """Draw p95 and rows a second over time."""
    end = story.rows[-1][0]
    seconds = [float(second) for second in range(1, int(end) - 1)]
    return Panel(
        title,
        [(at, story.p95(at - 1, at + 1)) for at in seconds],
        [(at, story.speed(at - 2.2, at + 2.2)) for at in seconds],
        limit=times * story.p95(1, alone),
    )


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=25, help="seconds that a run has to find its pace")
    parser.add_argument("--seconds", type=float, default=20, help="that are measured then")
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts")
    parser.add_argument("--write", type=Path, help="put the table into this file, as reStructuredText")
    parser.add_argument("--draw", type=Path, help="draw p95 and rows a second over time into this SVG file")
    options = parser.parse_args()
    with server(DURABLE) as on:
        report = Report(Stage(on, options.rows), options.settle, options.seconds, options.rounds)
        version = re.match(r"\S+ \S+", on.execute("SELECT version()")[0][0])
        report.say(
            f"{version and version[0]}, Python {sys.version.split()[0]}, {os.cpu_count()} processors, "
            f"{options.rows:,} rows, 2 workers, median of {options.rounds} rounds (least to most)."
        )
        for part in options.only.split(","):
            getattr(report, part)()
    if options.draw:
        draw(report.panels, options.draw)
    if options.write:
        options.write.write_text(_page(report.lines, options.draw), "utf-8")


def _page(lines: Sequence[str], picture: Path | None) -> str:
    """Return the table, and the picture beside it, as reStructuredText."""
    title = "What the benchmark of --pace printed"
    page = f"{title}\n{'=' * len(title)}\n\n``python -m benchmarks.postgres.pace`` plays pgbench beside a backfill.\n\n"
    if picture is not None:
        page += f".. image:: {picture.name}\n   :alt: p95 of pgbench and rows a second, over time\n\n"
    for line in lines:
        page += textwrap.fill(f"- {line}", 98, subsequent_indent="  ", break_long_words=False) + "\n"
    return page


if __name__ == "__main__":
    main()
