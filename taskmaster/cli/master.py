"""``tm-master``."""

from __future__ import annotations

from typing import Any

import click

from taskmaster.cli.command import CONTEXT, Words, common, key_options, master_options, parse_arguments, run_command

__all__ = ["main"]


@click.command("tm-master", cls=Words, context_settings=CONTEXT)
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@key_options("127.0.0.1:5050", "Where to serve.")
@master_options
@common
@run_command("tm-master")
def main(target: str, arguments: tuple[str, ...], **options: Any) -> int:
    """Serve the jobs of TARGET to slaves, and write down how far the run is.

    TARGET is pkg.module, pkg.module:function, path/file.py or path/file.py:function; without a function, get_jobs is meant. NAME=VALUE are
    passed to it as text. Give the same command again to resume a run that was stopped.

    \b
    Example:
        tm-ctl keygen tm.key
        tm-master backfill.py --host=0.0.0.0:5050 --key-file=tm.key
    """
    from taskmaster import api
    from taskmaster.options import MasterOptions

    return api.serve(target, parse_arguments(arguments), MasterOptions(**options)).exit_code
