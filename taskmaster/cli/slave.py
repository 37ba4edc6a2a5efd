"""``tm-slave`` and ``tm-spawn``: take batches from a master and run them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import of_target
from taskmaster.cli.options import command, merge
from taskmaster.errors import UsageError
from taskmaster.options.commands import SlaveOptions
from taskmaster.redaction import without_password

__all__ = ["main", "spawn_main", "tm_slave", "tm_spawn"]

# A slave shows no progress. That of release 0.8.2 did, and scripts written for it switch that off.
_OF_OLD: dict[str, Any] = {
    "gone": ["--retries", "--timeout"],
    "expose_value": False,
    "help": "Does nothing: a slave shows no progress. Here for scripts written for 0.8.2.",
}


@command(SlaveOptions, **_OF_OLD)
@click.argument("target", shell_complete=of_target)
@click.argument("words", metavar="", nargs=-1)
def tm_slave(target: str, words: tuple[str, ...], **given: Any) -> int:
    """Take batches from a master and run them, until the run is over.

    TARGET is pkg.module, pkg.module:function, path/file.py or path/file.py:function; without a
    function it is handle_job. On the master's own machine the key is found by itself.

    \b
    Examples:
      tm-slave taskmaster.example
      tm-slave backfill.py --host=10.0.0.1:5050 --key-file=tm.key --processes=8
    """  # noqa: D301
    _refuse(words, ": the number of worker processes is given as --processes={0}.")
    return _work(target, given)


@command(SlaveOptions, without=["processes"], **_OF_OLD)
@click.argument("target", shell_complete=of_target)
@click.argument("processes", metavar="N", type=int)
@click.argument("words", metavar="", nargs=-1)
def tm_spawn(target: str, words: tuple[str, ...], **given: Any) -> int:
    """Take batches from a master and run them in N worker processes: tm-slave with --processes=N.

    \b
    Examples:
      tm-spawn taskmaster.example 8
      tm-spawn backfill.py:handle_job 8 --host=10.0.0.1:5050 --key-file=tm.key
    """  # noqa: D301
    _refuse(words, ": it stands right behind TARGET, once.")
    if given["processes"] < 1:
        raise UsageError(f"N, the number of worker processes, is {given['processes']}: give 1 or more.")
    return _work(target, given)


def _refuse(words: tuple[str, ...], number: str) -> None:
    """Refuse words behind those that a slave takes: another command takes them.

    Args:
        words: The words.
        number: What to say of the number of worker processes.
    """
    if not words:
        return
    shown = without_password(words[0])
    if words[0].isdecimal():
        raise UsageError(f"{shown} is one word too many{number.format(shown)}")
    if "=" in words[0]:
        raise UsageError(f"{shown!r} is for tm-master: get_jobs has its arguments from there. Leave it out here.")
    raise UsageError(f"{shown!r} is one word too many: leave it out.")


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
