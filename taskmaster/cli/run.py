"""``tm-run``."""

from __future__ import annotations

from typing import Any

import click

from taskmaster.cli.command import (
    CONTEXT,
    Words,
    common,
    key_options,
    master_options,
    parse_arguments,
    run_command,
    slave_options,
)
from taskmaster.errors import UsageError

__all__ = ["main"]


@click.command("tm-run", cls=Words, context_settings=CONTEXT)
@click.argument("target")
@click.argument("words", nargs=-1, metavar="[N] [NAME=VALUE]...")
@key_options(None, "Where to serve slaves from elsewhere too; by default a free port of this machine.")
@slave_options
@master_options
@common
@run_command("tm-run")
def main(target: str, words: tuple[str, ...], **options: Any) -> int:
    """Run handle_job on all jobs of TARGET here, in N worker processes (by default one for each usable CPU).

    NAME=VALUE are passed to get_jobs as text. Give the same command again to resume a run that was stopped.

    \b
    Example:
        tm-run backfill.py 8
    """
    from taskmaster import api
    from taskmaster.options import RunOptions

    processes = None
    if words and "=" not in words[0]:
        if not words[0].isdigit() or int(words[0]) < 1:
            raise UsageError(f"{words[0]!r} is no number of worker processes: write tm-run TARGET N NAME=VALUE.")
        processes, words = int(words[0]), words[1:]
    return api.run(target, parse_arguments(words), RunOptions(processes=processes, **options)).exit_code
