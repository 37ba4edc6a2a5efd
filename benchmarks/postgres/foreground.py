"""pgbench in the foreground, alone and beside backfills: what does it feel, and how fast does the
backfill move?

Called by ``benchmarks.postgres``. The backfill lasts as long as pgbench: when it has come to its
end it begins anew.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from support.postgres_server import Server  # the tests' server

__all__ = ["WAYS", "foreground"]

TM_RUN = Path(sys.executable).with_name("tm-run")
MODULE = Path(__file__).with_name("work.py")
GUARDS = ["--guard=active_connections=4@DSN", "--guard=locks_waiting=0@DSN"]
WARM = 3.0  # seconds until a backfill is under way


class Way(NamedTuple):
    """What runs beside pgbench.

    Attributes:
        what: as the table says it.
        words: options of ``tm-run``, in which DSN stands for the server's; None: nothing runs.
        rows: of the first ranges.
        target: seconds of a range.
    """

    what: str
    words: list[str] | None = None
    rows: int = 200
    target: float = 0.02


WAYS = (
    Way("alone (4 clients, 100 transactions a second)"),
    Way("beside a backfill with guards on and a rate of 5 ranges a second", [*GUARDS, "--rate=5"]),
    Way("beside a backfill with guards on and a rate of 10 ranges a second", [*GUARDS, "--rate=10"]),
    Way("beside a backfill with guards on", GUARDS),
    Way("beside a backfill without guards, ranges of a second", [], rows=10_000, target=1.0),
)


class Felt(NamedTuple):
    """What one run of pgbench felt.

    Attributes:
        p95: 95 % of its transactions took no longer than so many milliseconds.
        moved: rows a second that were updated beside it.
    """

    p95: float
    moved: float


def foreground(
    on: Server,
    copy: Callable[[], AbstractContextManager[str]],
    rounds: int,
    seconds: int,
    say: Callable[[str], None],
) -> None:
    """Measure each way once in each round, and say what came of it.

    Args:
        on: the server.
        copy: gives a fresh copy of the tables, by the name of its database.
        rounds: how many.
        seconds: of each run of pgbench.
        say: takes the lines.
    """
    found: dict[str, list[Felt]] = {way.what: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            with copy() as name:
                felt = _measured(on, name, seconds, way)
            found[way.what].append(felt)
            print(f"  pgbench {way.what}: p95 {felt.p95:.1f} ms; {felt.moved:,.0f} rows/s", flush=True)
    base = statistics.median(felt.p95 for felt in found[WAYS[0].what])
    for what, all_felt in found.items():
        p95 = [felt.p95 for felt in all_felt]
        moved = statistics.median(felt.moved for felt in all_felt)
        say(
            f"pgbench {what}: p95 {statistics.median(p95):.1f} ms ({min(p95):.1f} to {max(p95):.1f}), "
            f"{statistics.median(p95) / base:.2f} times" + (f"; {moved:,.0f} rows/s are updated" if moved else "")
        )


def _measured(on: Server, name: str, seconds: int, way: Way) -> Felt:
    pgbench, dsn = str(on.binaries / "pgbench"), on.dsn(name)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([pgbench, "-i", "-q", "-s", "10", dsn], check=True, capture_output=True)
        on.execute("CHECKPOINT")
        with nullcontext() if way.words is None else _backfilling(directory, dsn, way):
            before = _updated(on, name)
            command = [pgbench, "-c", "4", "-R", "100", "-T", str(seconds), "-l", f"--log-prefix={directory}/log", dsn]
            subprocess.run(command, check=True, capture_output=True)
            moved = (_updated(on, name) - before) / seconds
        lines = [line for file in Path(directory).glob("log*") for line in file.read_text().splitlines()]
    latencies = sorted(int(line.split()[2]) / 1000 for line in lines)
    return Felt(latencies[int(0.95 * len(latencies))], moved)


@contextmanager
def _backfilling(directory: str, dsn: str, way: Way) -> Iterator[None]:
    """Backfill, and begin anew whenever that has ended, as long as the block runs."""
    variables = {"BENCH_KIND": "ranges", "BENCH_ROWS": str(way.rows), "BENCH_TARGET": str(way.target)}
    environment = {**os.environ, "BENCH_DSN": dsn, **variables}
    words = [word.replace("DSN", dsn) for word in way.words or ()]
    command = [str(TM_RUN), str(MODULE), "2", "--no-progress", "--reset", *words]
    turn, over = threading.Lock(), threading.Event()
    running: list[subprocess.Popen[bytes]] = []
    codes: list[int] = []

    def again() -> None:
        while not any(codes):
            with turn:
                if over.is_set():
                    return
                running[:] = [subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.DEVNULL)]
            codes.append(running[0].wait())

    thread = threading.Thread(target=again)
    thread.start()
    time.sleep(WARM)
    try:
        yield
    finally:
        with turn:
            over.set()
            for process in running:
                process.terminate()
        thread.join()
    # One that had only just begun anew does not know yet what to do with the signal.
    if any(codes[:-1]) or codes[-1] not in (0, 143, -signal.SIGTERM):
        raise SystemExit(f"the backfill beside the foreground ended with {codes}")


def _updated(on: Server, name: str) -> int:
    rows = on.execute("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'comments'", database=name)
    return int(rows[0][0])
