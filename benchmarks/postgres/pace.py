"""What others feel of a run with ``--pace``, and how fast it is.

``python -m benchmarks.postgres.pace``

pgbench (4 clients, 100 transactions a second) is in the foreground. The backfill begins and ends
beside it: alone is what it takes before and after the run. What is measured counts from when the
run has found its pace. The server is one of its own, on a disk that always takes the same time
(``steady_disk``), or with ``--disk=real`` on that of the machine. The default takes half an hour,
and needs a machine that does nothing else; ``--only=grid --rounds=1`` and the like take a part of
it, each less than five minutes.

The part ``control`` is the same story with a run that is held after its first range: what it finds
is the error of the others, for there is nothing to feel.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres_server import server, standby  # noqa: E402  # the tests' server

from benchmarks.postgres.steady_disk import SETTINGS as ON_STEADY_DISK  # noqa: E402
from benchmarks.postgres.steady_disk import steady_disk  # noqa: E402
from benchmarks.postgres.stories import DURABLE, Stage, Story  # noqa: E402
from benchmarks.postgres.timeline import Panel, draw  # noqa: E402
from taskmaster.guards.probe_report import ProbeReport  # noqa: E402
from taskmaster.postgres.probe import DatabaseProbe  # noqa: E402

GRID = [(0.02, 5), (0.02, 10), (0.02, 20), (0.1, 2), (0.1, 4)]  # seconds of a range, ranges a second
NEAR_LIMIT = 2.5  # times alone, within which a fixed setting is played as often as the paces
PARTS = ("cost", "control", "pace", "grid", "tripled", "nobody", "standby")


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

    def say(self, line: str, goal: str = "", reached: bool = True) -> None:
        """Take a line, with what was to be reached."""
        line += f" -- {'reached' if reached else 'MISSED'}: {goal}" if goal else ""
        print(line, flush=True)
        self.lines.append(line)

    def _beside(self, words: Sequence[str], settle: float, target: float = 1.0) -> tuple[float, float, Story]:
        """How many times as long the foreground takes, and rows a second."""
        end = self.alone + settle + self.measured
        whole = end + self.alone
        story = self.stage.play(
            end, words, begins=self.alone, loads=[(0, 100, whole)], target=target, after=self.alone
        )  # fmt: skip
        p95 = story.p95((self.alone + settle, end))
        return p95 / story.p95(*story.alone), story.speed(self.alone + settle, end), story

    def cost(self) -> None:
        """The probe itself, as often as beside a run."""
        with closing(DatabaseProbe(self.stage.dsn)) as probe:
            report = ProbeReport(probe)
            list(report.lines(2))
            sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'taskmaster/probe'"
            backend = Path(f"/proc/{self.stage.on.execute(sql)[0][0]}/schedstat")  # nanoseconds at work, and more
            before, began = int(backend.read_text().split()[0]), time.monotonic()
            list(report.lines(10))
            there = (int(backend.read_text().split()[0]) - before) / 1e9 / (time.monotonic() - began)
        self.say(
            f"the probe: {100 * report.core:.2f} % of a core for the master, {100 * there:.2f} % for the server",
            "below 1 % together", report.core + there < 0.01,
        )  # fmt: skip

    def control(self) -> None:
        """A run that does nothing, in the same story."""
        words = [f"--pace=1.5x@{self.stage.dsn}", "--rate=0.01"]
        times = [self._beside(words, self.settle)[0] for _ in range(self.rounds)]
        self.say(
            f"pgbench beside a run that is held: p95 {statistics.median(times):.2f} times alone ({min(times):.2f} to "
            f"{max(times):.2f}): so far from 1 are the figures below by what the machine does"
        )

    def pace(self) -> None:
        """``--pace`` and nothing else."""
        for limit in ("1.5x", "3x"):
            found = [self._beside([f"--pace={limit}@{self.stage.dsn}"], self.settle) for _ in range(self.rounds)]
            times, speeds, stories = ([one[part] for one in found] for part in range(3))
            self.speeds[limit] = statistics.median(speeds)
            self.say(
                f"pgbench beside --pace={limit}: p95 {statistics.median(times):.2f} times alone "
                f"({min(times):.2f} to {max(times):.2f}); {self.speeds[limit]:,.0f} rows/s "
                f"({min(speeds):,.0f} to {max(speeds):,.0f}); at last: {_last(stories[-1])}",
                f"at most {limit[:-1]} times", statistics.median(times) <= float(limit[:-1]),
            )  # fmt: skip
            self._start(limit, stories)
            self.panels.append(_panel(f"--pace={limit}, from {self.alone:.0f} s on", stories[-1], float(limit[:-1])))
        self.say(
            f"--pace=3x has {self.speeds['3x'] / max(1.0, self.speeds['1.5x']):.2f} times the rows/s of --pace=1.5x",
            "faster", self.speeds["3x"] > self.speeds["1.5x"],
        )  # fmt: skip

    def _start(self, limit: str, stories: Sequence[Story]) -> None:
        """How a run begins: its first half minute, and the p95 of each second of it."""
        over, whole, alone = [], [], []
        for story in stories:
            allowed = float(limit[:-1]) * story.p95(*story.alone)
            whole.append(story.p95((self.alone, self.alone + 30)) / story.p95(*story.alone))
            over.append(len(story.above(allowed, self.alone, 30)))
            alone.append(len(story.above(allowed, 1, int(self.alone) - 1)))
        self.say(
            f"the first 30 s of such a run: p95 {statistics.median(whole):.2f} times alone ({min(whole):.2f} to "
            f"{max(whole):.2f}); that of a single second is above the limit in {statistics.median(over):g} of 30, and "
            f"in {statistics.median(alone):g} of the {self.alone - 1:g} before the run",
            f"at most {limit[:-1]} times", statistics.median(whole) <= float(limit[:-1]),
        )  # fmt: skip

    def grid(self) -> None:
        """Fixed settings, as somebody would try them out."""
        if "1.5x" not in self.speeds:  # this part alone
            self.speeds["1.5x"] = self._beside([f"--pace=1.5x@{self.stage.dsn}"], self.settle)[1]
        best = 0.0
        for target, rate in GRID:
            found = [self._beside([f"--rate={rate}"], 4.0, target)]
            while len(found) < self.rounds and found[0][0] <= NEAR_LIMIT:  # one that is far above it stays so
                found.append(self._beside([f"--rate={rate}"], 4.0, target))
            times, speed = (statistics.median(one[part] for one in found) for part in range(2))
            best = max(best, speed if times <= 1.5 else 0.0)
            least, most = (pick(one[0] for one in found) for pick in (min, max))
            played = f" ({least:.2f} to {most:.2f} in {len(found)} rounds)" if len(found) > 1 else ", in one round"
            self.say(
                f"pgbench beside target={target:g}, --rate={rate}: p95 {times:.2f} times alone{played}; "
                f"{speed:,.0f} rows/s"
            )
        if not best:
            self.say("none of these holds 1.5 times", "0.7 of the best of these that holds 1.5 times")
            return
        share = self.speeds["1.5x"] / best
        self.say(
            f"--pace=1.5x has {share:.2f} of the rows/s of the best of these",
            "0.7 of the best of these that holds 1.5 times", share >= 0.7,
        )  # fmt: skip

    def tripled(self) -> None:
        """A foreground that triples for 20 s. What it may feel is 1.5 times of what three times the
        load feels without a run, which is measured before, in the same story.
        """
        begins, first = 4.0, 14.0
        begin = first + self.settle + 5
        loads = [(0.0, 100, begin + 52), (begins, 200, 10.0), (begin, 200, 20.0)]
        words = [f"--pace=1.5x@{self.stage.dsn}"]
        within: list[float] = []
        overs: list[tuple[int, int, int]] = []  # seconds: of the 20, of the 20 before them, of the 10 without a run
        backs: list[float] = []
        for _ in range(self.rounds):
            story = self.stage.play(begin + 52, words, begins=first, loads=loads)
            limit = 1.5 * story.p95((begins + 1, first))
            before = 1.5 * story.p95((1, begins))
            within.append(story.within(limit, begin, 20))
            overs.append((
                len(story.above(limit, begin, 20)), len(story.above(before, begin - 20, 20)),
                len(story.above(limit, begins, 10)),
            ))  # fmt: skip
            rows = story.speed(begin - 10, begin)
            backs.append(
                next((s for s in range(1, 30) if story.speed(begin + 17 + s, begin + 21 + s) >= 0.7 * rows), 99)
            )
        middle, earlier, alone = (statistics.median(counts) for counts in zip(*overs, strict=True))
        self.say(
            "the foreground triples for 20 s: after the change, its p95 is above 1.5 times that of three times the "
            f"load alone for {statistics.median(within):g} s ({min(within):g} to {max(within):g}), and from then on "
            "below it",
            "for at most 3 s", statistics.median(within) <= 3,
        )  # fmt: skip
        self.say(
            f"the p95 of a single second is above that in {middle:g} of the 20 s; it was above 1.5 times that of the "
            f"usual load in {earlier:g} of the 20 s before them, and is so in {alone:g} of 10 s of the load alone"
        )
        self.say(
            f"after that, 0.7 of the rows/s are back after {statistics.median(backs):g} s (99: not at all)",
            "30 s", statistics.median(backs) <= 30,
        )  # fmt: skip
        self.panels.append(_panel(f"three times the load from {begin:.0f} to {begin + 20:.0f} s", story, 1.5, limit))

    def nobody(self) -> None:
        """No foreground at all."""
        pace = f"--pace=1.5x@{self.stage.dsn}"
        speeds: dict[str, list[float]] = {"--pace=off": [], pace: []}
        for _ in range(self.rounds):
            for word, found in speeds.items():
                found.append(self.stage.play(90, [word], until_done=True).middle_speed())
        without, with_pace = (statistics.median(found) for found in speeds.values())
        self.say(
            f"nobody else: {with_pace:,.0f} rows/s with --pace=1.5x once it has begun, {without:,.0f} without it: "
            f"{with_pace / without:.2f} times",
            "0.9", with_pace / without >= 0.9,
        )  # fmt: skip

    def standby(self) -> None:
        """A standby that is slow: its recovery is paused, for longer and longer, and resumed."""
        lags: list[tuple[float, float]] = []
        with standby(self.stage.on) as slow:
            over = threading.Event()

            def pause() -> None:
                for seconds in itertools.cycle((1.0, 2.0, 3.0, 4.0, 4.5)):
                    slow.execute("SELECT pg_wal_replay_pause()")
                    over.wait(seconds)
                    slow.execute("SELECT pg_wal_replay_resume()")
                    if over.wait(3.0):
                        return

            def watch() -> None:
                sql = (
                    "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 "
                    "ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
                )
                while not over.wait(0.2):
                    lags.append((time.monotonic(), float(slow.execute(sql)[0][0] or 0)))

            threads = [threading.Thread(target=one) for one in (pause, watch)]
            for thread in threads:
                thread.start()
            try:
                words = [f"--guard=replication_lag=5s@{slow.dsn()}"]
                story = self.stage.play(45, words, think=1.0, until_done=True)
            finally:
                ended = time.monotonic()
                over.set()
                for thread in threads:
                    thread.join()
        self._say_standby(story, [(at - (ended - story.seconds), lag) for at, lag in lags])

    def _say_standby(self, story: Story, lags: Sequence[tuple[float, float]]) -> None:
        first = story.rows[0][0] if story.rows else 0.0
        lags = [one for one in lags if first <= one[0] <= story.seconds]
        most = max((lag for _, lag in lags), default=0.0)
        freely = story.speed(first, first + 2)
        near = [story.speed(at - 0.5, at + 0.5) for at, lag in lags if 2.5 <= lag <= 5]
        slowed = statistics.fmean(near) if near else float("nan")
        stopped = [at for at, reason in story.said if re.search("replication lag .* above", reason)]
        told = [at for at, reason in story.said if "slowed to" in reason]
        self.say(
            f"a slowed standby with --guard=replication_lag=5s: lag at most {most:.1f} s", "at most 6 s", most <= 6
        )
        self.say(
            f"the same: {freely:,.0f} rows/s at first, {slowed:,.0f} while the lag is between half of its limit and "
            f"the limit; slowed in {len(told)} and stopped in {len(stopped)} of {len(story.said)} lines of progress",
            "slows before it stops", bool(told) and slowed < 0.8 * freely,
        )  # fmt: skip


def _last(story: Story) -> str:
    """Return what was said of the pace last."""
    return next((reason for _, reason in reversed(story.said) if reason.startswith("pace ")), "nothing")


def _panel(title: str, story: Story, times: float, limit: float = 0.0) -> Panel:
    """Draw p95 and rows a second over time."""
    seconds = [float(second) for second in range(1, int(story.seconds) - 1)]
    return Panel(
        title,
        [(at, story.p95((at - 1, at + 1))) for at in seconds],
        [(at, story.speed(at - 1, at + 1)) for at in seconds],
        limit=limit or times * story.p95(*story.alone),
    )


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=30, help="seconds that a run has to find its pace")
    parser.add_argument("--seconds", type=float, default=30, help="that are measured then")
    parser.add_argument("--disk", choices=("steady", "real"), default="steady", help="that the server writes to")
    parser.add_argument("--only", default=",".join(PARTS), help="some of the parts")
    parser.add_argument("--write", type=Path, help="put the table into this file, as reStructuredText")
    parser.add_argument("--draw", type=Path, help="draw p95 and rows a second over time into this SVG file")
    options = parser.parse_args()
    steady = options.disk == "steady"
    settings = {**DURABLE, **(ON_STEADY_DISK if steady else {})}
    with steady_disk() if steady else nullcontext(), server(settings) as on:
        report = Report(Stage(on, options.rows), options.settle, options.seconds, options.rounds)
        version = re.match(r"\S+ \S+", on.execute("SELECT version()")[0][0])
        report.say(
            f"{version and version[0]}, Python {sys.version.split()[0]}, {os.cpu_count()} processors, a {options.disk} "
            f"disk, {options.rows:,} rows, 2 workers, median of {options.rounds} rounds (least to most)."
        )
        for part in options.only.split(","):
            getattr(report, part)()
    if options.draw:
        draw(report.panels, options.draw)
    if options.write:
        options.write.write_text(_page(report.lines, options.draw), "utf-8")


PAGE = """\
What the benchmark of --pace printed
====================================

``python -m benchmarks.postgres.pace --write=docs/pace-results.rst --draw=docs/pace.svg`` has
written this page. pgbench (4 clients, 100 transactions a second) is in the foreground; a backfill
by ranges begins beside it, with a pace and no other setting, and ends before pgbench does; what is
alone was measured before and after it. On a steady disk, the server's files are in memory, and each
write of its log waits as long as that of a cloud's disk takes, and always the same time
(``benchmarks/postgres/steady_disk.py``): on a disk that others use, the same pgbench takes twice or
five times as long from one minute to the next, with nothing beside it. Each line ends with what was
to be reached. While the foreground triples, what it feels is compared with what three times the
load feels without a run, which is measured in the same story. What is told is after how many
seconds the p95 of all that follows is within the limit. The p95 of a single second is made of a
hundred transactions, or three hundred, so that it is above the limit now and then, whatever the
load; how often, is said.

.. code-block:: text

"""


def _page(lines: Sequence[str], picture: Path | None) -> str:
    """Return the table, and the picture below it, as reStructuredText."""
    page = PAGE
    for line in lines:
        page += textwrap.fill(
            line, 100, initial_indent="    ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
        ) + "\n"  # fmt: skip
    if picture is not None:
        alt = "What pgbench feels, and rows a second: with 1.5x, with 3x, with a tripled load."
        page += f"\n.. image:: {picture.name}\n   :alt: {alt}\n"
    return page


if __name__ == "__main__":
    main()
