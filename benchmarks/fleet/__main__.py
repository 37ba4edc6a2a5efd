"""How many slaves one master bears: ``python -m benchmarks.fleet``.

Simulates a fleet of slaves around the real master's parts, in virtual time, through four phases:
all slaves come and are handed their batches; the steady state; the master is killed and started
again; a rack of slaves is lost. Prints what each has cost the master. A phase that takes more than
its share of the budget is ended early, and said to be::

    python -m benchmarks.fleet --slaves=10000 --workers=64 --seconds=120

Exits with 1 if a goal was missed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from benchmarks.fleet.phases import measure, table
from benchmarks.fleet.simulated_slaves import Shape


@click.command()
@click.option("--slaves", type=click.IntRange(2), default=10_000, show_default=True, help="How many.")
@click.option("--workers", type=click.IntRange(1), default=64, show_default=True, help="Of each slave.")
@click.option("--seconds", type=click.FloatRange(0.1), default=120.0, show_default=True, help="What a job takes.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Jobs in a batch.")
@click.option("--jobs", type=click.IntRange(1), default=1_000_000_000, show_default=True, help="That there are.")
@click.option("--rows/--ranges", default=False, help="Plain jobs instead of key ranges, which are parked first.")
@click.option("--steady", type=click.FloatRange(1), default=30.0, show_default=True, help="Virtual seconds measured.")
@click.option("--rack", type=click.IntRange(1), default=100, show_default=True, help="Slaves that are lost at once.")
@click.option("--budget", type=click.FloatRange(1), default=280.0, show_default=True, help="Real seconds, about.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON.")
def main(*, as_json: bool, slaves: int, workers: int, seconds: float, batch: int, seed: int, **rest: float) -> None:
    """Simulate a fleet."""
    shape = Shape(slaves, workers, seconds, batch=batch, seed=seed)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        result = measure(
            Path(name) / "fleet.tmstate", shape, jobs=int(rest["jobs"]), rows=bool(rest["rows"]),
            steady=rest["steady"], rack=min(int(rest["rack"]), slaves - 1), budget=rest["budget"],
            say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    click.echo(json.dumps(result.as_json()) if as_json else table(result))
    if result.missed():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
