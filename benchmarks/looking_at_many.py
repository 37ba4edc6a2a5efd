"""What a look at a large run takes: many slaves that come and go, and failures by the ten thousand.

A real ``tm-master``; slaves that are real in all but their workers (see ``light_slaves.py``), of
which one in twenty leaves each second and another one comes; and a real ``tm-slave`` whose callback
fails every job, in thirty kinds with long messages. Once a second all that the page asks for is
asked for over a connection that is kept::

    pip install psutil
    python benchmarks/looking_at_many.py --slaves=300 --failures=50000

Exits with 1 if the status took 100 ms or had 64 KB, or if the master's memory grew by a fifth from
the middle of the measurement to its end.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import light_slaves
import psutil
from light_slaves import Crowd, LightSlave

from taskmaster.control import Run
from taskmaster.transport.address import Address

MOST_MS = 100.0
MOST_BYTES = 64 * 1024
MOST_GROWTH = 1.2  # times the memory of the middle
LEAVING = 20  # of this many slaves, one leaves each second
LEAST_LOOKS = 3  # some of them after slaves have come and gone
PATIENCE = 120.0  # seconds without one more failure
TARGET = (
    light_slaves.TARGET
    + """

KINDS = [type(f"Failure{number}", (Exception,), {}) for number in range(30)]


def handle_job(number):
    raise KINDS[number % 30](f"job {number}: <script>" + "long " * 200)
"""
)


def leave(crowd: Crowd, number: int) -> None:
    """Have the slaves that came first say goodbye, and as many others come."""
    for slave in [slave for slave in crowd.slaves if slave.link.up and not slave.over][:number]:
        slave.over = True
        slave.link.bye()
        slave.link.close()
        # Else a new connection would get the number of a file that is still registered.
        for key in [key for key in crowd.selector.get_map().values() if key.fileobj.fileno() < 0]:
            crowd.selector.unregister(key.fileobj)
        crowd.slaves.append(LightSlave(crowd))


@contextmanager
def failing_slave(directory: Path, address: Address, key: str) -> Iterator[None]:
    """A real slave that fails every job that it is given; ended at the end."""
    command = [str(Path(sys.executable).with_name("tm-slave")), "crowd.py", f"--host={address.host}:{address.port}"]
    environment = {**os.environ, "TASKMASTER_KEY": key, "TASKMASTER_HOME": str(directory)}
    with (directory / "slave").open("wb") as said:
        slave = subprocess.Popen([*command, "--processes=1"], cwd=directory, env=environment, stdout=said, stderr=said)
    try:
        yield
    finally:
        slave.terminate()
        slave.wait(30)


def look(run: Run) -> dict[str, float]:
    """Ask as the page does; give what the status took and weighed, and what all of it took."""
    began = time.perf_counter()
    status = run.status()
    asked = time.perf_counter()
    run.history("10m", 0)
    run.slaves()
    run.trail()
    return {
        "status_ms": 1000 * (asked - began),
        "all_ms": 1000 * (time.perf_counter() - began),
        "bytes": len(json.dumps(status)),
        "failed": status["failed"],
    }


def watch(slaves: int, failures: int) -> list[dict[str, float]]:
    """Have slaves come and go until ``failures`` jobs have failed; give one row a second."""
    key, rows = secrets.token_urlsafe(32), []
    with tempfile.TemporaryDirectory(prefix="looking-at-many-") as name:
        directory = Path(name)
        light_slaves.TARGET = TARGET
        with light_slaves.started_master(directory, "busy", key, "--retries=0") as (master, address):
            crowd = Crowd(slaves, address, key)
            if not crowd.run(PATIENCE, lambda: crowd.welcomed >= slaves):
                raise click.ClickException(f"Only {crowd.welcomed} of {slaves} slaves could connect.")
            process, last = psutil.Process(master.pid), time.monotonic()
            with failing_slave(directory, address, key), Run(str(address), key=key) as run:
                while len(rows) < LEAST_LOOKS or rows[-1]["failed"] < failures:
                    crowd.run(1.0)
                    leave(crowd, max(1, slaves // LEAVING))
                    rows.append({**look(run), "mb": process.memory_info().rss / 1e6, "slaves": crowd.welcomed})
                    if len(rows) > 1 and rows[-1]["failed"] > rows[-2]["failed"]:
                        last = time.monotonic()
                    elif time.monotonic() - last > PATIENCE:
                        raise click.ClickException(f"No job failed for so long; {(directory / 'slave').read_text()}")
            crowd.close()
    return rows


@click.command()
@click.option("--slaves", type=click.IntRange(1), default=300, show_default=True)
@click.option("--failures", type=click.IntRange(1), default=50_000, show_default=True)
def main(slaves: int, failures: int) -> None:
    """Look once a second at a run of many slaves and many failures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = watch(slaves, failures)
    for row in rows[:: max(1, len(rows) // 12)]:
        click.echo(json.dumps({name: round(value, 1) for name, value in row.items()}))
    found = {
        "looks": len(rows),
        "slaves_ever": rows[-1]["slaves"],
        "failed": rows[-1]["failed"],
        "status_ms_median": round(statistics.median(row["status_ms"] for row in rows), 2),
        "status_ms_most": round(max(row["status_ms"] for row in rows), 2),
        "all_ms_median": round(statistics.median(row["all_ms"] for row in rows), 2),
        "bytes_most": max(row["bytes"] for row in rows),
        "mb_middle": round(rows[len(rows) // 2]["mb"], 1),
        "mb_end": round(rows[-1]["mb"], 1),
    }
    click.echo(json.dumps(found))
    flat = found["mb_end"] <= MOST_GROWTH * found["mb_middle"]
    if found["status_ms_median"] > MOST_MS or found["bytes_most"] > MOST_BYTES or not flat:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
