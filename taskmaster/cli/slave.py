"""``tm-slave`` and ``tm-spawn``: take batches from a master and run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import of_target
from taskmaster.cli.options import command, merge
from taskmaster.options.commands import SlaveOptions

__all__ = ["main", "spawn_main", "tm_slave", "tm_spawn"]

# A slave shows no progress. That of release 0.8.2 did, and scripts written for it switch that off.
_OF_OLD: dict[str, Any] = {
    "gone": ["--retries", "--timeout"],
    "expose_value": False,
    "help": "Does nothing: a slave shows no progress. Here for scripts written for 0.8.2.",
}


@command(SlaveOptions, **_OF_OLD)
@click.argument("target", shell_complete=of_target)
def tm_slave(target: str, **given: Any) -> int:
    """Take batches from a master and run them, until the run is over.

    TARGET is pkg.module, pkg.module:function, path/file.py or path/file.py:function; without a
    function it is handle_job. On the master's own machine the key is found by itself.

    \b
    Examples:
      tm-slave taskmaster.example
      tm-slave backfill.py --host=10.0.0.1:5050 --key-file=tm.key --processes=8
    """  # noqa: D301
    return _work(target, given)


@command(SlaveOptions, without=["processes"], **_OF_OLD)
@click.argument("target", shell_complete=of_target)
@click.argument("processes", metavar="N", type=click.IntRange(min=1))
def tm_spawn(target: str, **given: Any) -> int:
    """Take batches from a master and run them in N worker processes: tm-slave with --processes=N.

    \b
    Examples:
      tm-spawn taskmaster.example 8
      tm-spawn backfill.py:handle_job 8 --host=10.0.0.1:5050 --key-file=tm.key
    """  # noqa: D301
    return _work(target, given)


def _work(target: str, given: dict[str, Any]) -> int:
    options = merge(SlaveOptions, given)
    from taskmaster.runner import remote_slave

    loaded()

    return remote_slave.work(target, options)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``tm-slave`` as a program."""
    run_command(tm_slave, "tm-slave", words)


def spawn_main(words: Sequence[str] | None = None) -> NoReturn:
    """Run ``tm-spawn`` as a program."""
    run_command(tm_spawn, "tm-spawn", words)
