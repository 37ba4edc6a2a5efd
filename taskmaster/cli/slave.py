"""``tm-slave`` and ``tm-spawn``: take batches from a master and run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taskmaster.cli.options import SETTINGS, common, loaded, merge, option, options, run_command
from taskmaster.options.commands import SlaveOptions

__all__ = ["main", "spawn_main", "tm_slave", "tm_spawn"]

_WHERE = "Where the master is."
# A slave shows no progress; release 0.8.2 did, and scripts that are older than this one switch it
# off.
_UNUSED = {
    "expose_value": False,
    "help": "Does nothing: a slave shows no progress. Here for scripts written for 0.8.2.",
}


@click.command(context_settings=SETTINGS)
@click.argument("target")
@option("host", help=_WHERE)
@options("key", "key_file", "processes", "threads", "concurrency", "batch")
@options("jobs_per_worker", "memory_per_worker", "wait", "grace")
@options("handle_job_callback", "django_settings", "other_databases")
@option("no_progress", **_UNUSED)
@options("retries_of_old", "timeout")
@common
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


@click.command(context_settings=SETTINGS)
@click.argument("target")
@click.argument("processes", metavar="N", type=click.IntRange(min=1))
@option("host", help=_WHERE)
@options("key", "key_file", "threads", "concurrency", "batch")
@options("jobs_per_worker", "memory_per_worker", "wait", "grace")
@options("handle_job_callback", "django_settings", "other_databases")
@option("no_progress", **_UNUSED)
@options("retries_of_old", "timeout")
@common
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
    from taskmaster import api

    loaded()

    return api.work(target, options)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """``tm-slave`` as a program."""
    run_command(tm_slave, "tm-slave", words)


def spawn_main(words: Sequence[str] | None = None) -> NoReturn:
    """``tm-spawn`` as a program."""
    run_command(tm_spawn, "tm-spawn", words)
