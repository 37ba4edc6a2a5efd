"""``tm-master``: serve the jobs of a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import of_target
from taskmaster.cli.options import command, merge, parse_arguments
from taskmaster.options.commands import MasterOptions

__all__ = ["main", "tm_master"]

NO_WORKERS = (
    "{0} is a number of worker processes, and a master has none: slaves run its jobs. Leave it out; or "
    "`tm-run` in place of tm-master runs them on this machine, in {0} worker processes."
)


@command(MasterOptions)
@click.argument("target", shell_complete=of_target)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
def tm_master(target: str, arguments: tuple[str, ...], **given: Any) -> int:
    """Serve the jobs of TARGET to slaves, until all are settled.

    TARGET is pkg.module, pkg.module:function, path/file.py or path/file.py:function; without a
    function it is get_jobs. Each KEY=VALUE is passed to it, as text or as the type that its
    annotation says (limit: int). Interrupt the command and run it again: it resumes where it was.

    \b
    Examples:
      tm-master taskmaster.example
      tm-master backfill.py since=2024-01-01 --host=0.0.0.0:5050 --key-file=tm.key
      tm-master backfill.py --dry-run
    """  # noqa: D301
    options = merge(MasterOptions, given)
    parsed = parse_arguments(arguments, NO_WORKERS)
    from taskmaster import api

    loaded()

    return api.serve(target, parsed, options).exit_code


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command as a program."""
    run_command(tm_master, "tm-master", words)
