"""``tm-run``: master and workers on one machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import of_target
from taskmaster.cli.options import command, merge, parse_arguments
from taskmaster.errors import UsageError
from taskmaster.options.commands import RunOptions
from taskmaster.runtime.invocation import note_sources

__all__ = ["main", "tm_run"]

TOO_LATE = "{0} comes too late: the number of worker processes stands right behind TARGET, or in --processes={0}."


@command(RunOptions)
@click.argument("target", shell_complete=of_target)
@click.argument("words", metavar="[N] [KEY=VALUE]...", nargs=-1)
@click.pass_context
def tm_run(ctx: click.Context, /, target: str, words: tuple[str, ...], **given: Any) -> int:
    """Serve the jobs of TARGET and run them on this machine, in N worker processes.

    TARGET is pkg.module, path/file.py, or one of these with the :function that yields the jobs. N
    is the number of usable CPUs if it is left out. Each KEY=VALUE is passed to get_jobs, as
    text or as the type that its annotation says (limit: int). Interrupt the command and run it
    again: it resumes where it was.

    \b
    Examples:
      tm-run taskmaster.example 2
      tm-run backfill.py 8 since=2024-01-01
      tm-run backfill.py --dry-run
    """  # noqa: D301
    number, arguments = _split(words)
    if number is not None:
        if ctx.get_parameter_source("processes") is ParameterSource.COMMANDLINE:
            raise UsageError(f"The worker processes are given twice, as {number} and as --processes: leave one out.")
        given["processes"] = number
    parsed = parse_arguments(arguments, TOO_LATE)
    options = merge(RunOptions, given)
    if number is not None:
        note_sources({"processes": "command line"})
    from taskmaster.runner.prefork import prepare

    # First: it gets ready while the master is imported. No worker may have the key in its memory,
    # though.
    keyless = options.key is None and "TASKMASTER_KEY" not in os.environ
    prefork = prepare() if keyless and options.needs_slave else None
    try:
        from taskmaster import api

        loaded()

        return api.run(target, parsed, options, prefork).exit_code
    finally:
        if prefork is not None:
            prefork.discard()


def _split(words: tuple[str, ...]) -> tuple[int | None, tuple[str, ...]]:
    """Tell N, which may be left out, from the arguments of get_jobs."""
    if not words or "=" in words[0]:
        return None, words
    try:
        number = int(words[0])
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(
            f"{words[0]!r} is neither a number of worker processes, 1 or more, nor an argument for get_jobs, which "
            "is written key=value."
        )
    return number, words[1:]


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command as a program."""
    run_command(tm_run, "tm-run", words)
