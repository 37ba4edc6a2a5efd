"""The harness: ``python -m benchmarks`` measures every case in rounds, and says what came of it.

Each measurement is a process of its own in a directory of its own. In each round, everything is
measured once, so that what else the machine does falls on all alike. A measurement that fails, or
that did not do every job, fails the whole.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.chart import draw
from benchmarks.peers import Sample
from benchmarks.plan import Case, cases
from benchmarks.results import Results, machine, now, versions
from benchmarks.servers import PORT, Redis, find_redis, redis_version, started_redis

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300.0  # seconds after which a measurement is ended as a failure


class Failed(click.ClickException):
    """A measurement went wrong, or did not do what it was to do."""


def measure(case: Case, scratch: Path, environment: dict[str, str]) -> Sample:
    """Do one case once.

    Args:
        case: what to do.
        scratch: where its directory may be.
        environment: variables that its processes get besides.

    Raises:
        Failed: it did not end well, not in time, or not with every job done.
    """
    command = [sys.executable, "-m", f"benchmarks.peers.{case.script}", case.called or case.work, str(case.jobs)]
    command += case.words
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{case.work}-") as directory:
        # Key files are left where nobody looks for them.
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "TASKMASTER_HOME": directory, **environment}
        used, began = children_cpu(), time.perf_counter()
        process = subprocess.Popen(
            command, cwd=directory, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(f"{case.work} on {case.peer} was not done after {LIMIT:.0f} s.") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        whole, cpu = time.perf_counter() - began, children_cpu() - used
    if process.returncode != 0:
        raise Failed(f"{case.work} on {case.peer} ended with {process.returncode}:\n{err}{out}")
    sample: Sample = json.loads(out.splitlines()[-1])
    if sample.get("slaves", sample["jobs"]) != case.jobs:
        raise Failed(f"{case.work} on {case.peer} did {sample['jobs']:.0f} of {case.jobs} jobs:\n{err}")
    return {**sample, "whole": whole, "cpu": cpu}


def children_cpu() -> float:
    """Seconds of processor time of all processes that this one has started and seen end, and of
    theirs.
    """
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers of jobs, and no servers: some two minutes.")
@click.option("--rounds", type=click.IntRange(1), help="How often all is measured.  [default: 5, quick: 3]")
@click.option("--work", "works", multiple=True, metavar="NAME", help="Only this work; can be repeated.")
@click.option("--peer", "peers", multiple=True, metavar="NAME", help="Only this peer; can be repeated.")
@click.option("--scale", type=click.FloatRange(0, min_open=True), default=1.0, help="Multiply the numbers of jobs.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/bench"),
    show_default=True,
    help="Where the results are written, and where the measurements have their directories.",
)
def main(
    quick: bool, rounds: int | None, works: Sequence[str], peers: Sequence[str], scale: float, output: Path
) -> None:
    """Measure Taskmaster and its peers."""
    # As if it was interrupted: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = [case for case in cases(quick) if (not works or case.work in works) and (not peers or case.peer in peers)]
    if not chosen:
        raise click.UsageError("There is no such work on such a peer.")
    if scale != 1.0:
        # Neither the crowd's slaves nor the few jobs of some works are a matter of size.
        chosen = [
            case if (case.jobs or 0) <= 1000 else replace(case, jobs=int(scale * (case.jobs or 0))) for case in chosen
        ]
    output.mkdir(parents=True, exist_ok=True)
    full = not quick and scale == 1.0
    about = {"date": now(), "machine": machine(), "full": full}
    releases, results = versions(), Results(verdicts=full)
    failed: Failed | None = None
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=output.resolve(), prefix="scratch-")))
        redis = None
        if any(case.redis for case in chosen):
            program = find_redis()
            releases["redis-server"] = redis_version(program)
            redis = stack.enter_context(started_redis(program))
        try:
            run(chosen, rounds or (3 if quick else 5), results, scratch, redis)
        except Failed as exc:
            failed = exc  # what was measured before is shown all the same
    found = {**about, "versions": releases, "failed": str(failed or ""), **results.as_json()}
    place = output / ("quick" if quick else "results")
    place.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    click.echo(f"\n{results.as_text()}\n")
    if failed is not None:
        raise failed
    draw(found, place.with_suffix(".png"))
    click.echo(f"Written: {place}.json with all samples, and {place}.png")


def run(chosen: Sequence[Case], rounds: int, results: Results, scratch: Path, redis: Redis | None) -> None:
    """Measure everything in rounds."""
    for turn in range(1, rounds + 1):
        for case in chosen:
            if case.once and turn > 1:
                continue
            served = redis.cpu() if redis and case.redis else 0.0
            sample = measure(case, scratch, {PORT: str(redis.port)} if redis else {})
            if redis and case.redis:
                sample["cpu"] += redis.cpu() - served
            results.add(case, turn, sample)
            click.echo(f"round {turn} of {rounds}: {results.described(case, turn)}", err=True)


if __name__ == "__main__":
    main()
