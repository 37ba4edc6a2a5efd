"""``tm-slave`` and ``tm-spawn``."""

from __future__ import annotations

from typing import Any

import click

from taskmaster.cli.command import CONTEXT, Words, common, key_options, run_command, slave_options, wait_option

__all__ = ["main", "spawn_main"]


@click.command("tm-slave", cls=Words, context_settings=CONTEXT)
@click.argument("target")
@key_options("127.0.0.1:5050", "Where the master is.")
@click.option("--processes", type=int, metavar="N", help="Worker processes; by default one for each usable CPU.")
@slave_options
@wait_option
@click.option("--no-progress", is_flag=True, hidden=True)
@common
@run_command("tm-slave")
def main(target: str, **options: Any) -> int:
    """Take jobs from a master and run handle_job of TARGET on them, in worker processes, until the run is over.

    On the master's own machine, the same user needs no key.

    \b
    Example:
        tm-slave backfill.py --host=10.0.0.1:5050 --key-file=tm.key
    """
    from taskmaster import api
    from taskmaster.options import SlaveOptions

    options.pop("progress", None)
    return api.work(target, SlaveOptions(**options))


@click.command("tm-spawn", cls=Words, context_settings=CONTEXT)
@click.argument("target")
@click.argument("processes", type=click.IntRange(1), metavar="N")
@key_options("127.0.0.1:5050", "Where the master is.")
@slave_options
@wait_option
@click.option("--no-progress", is_flag=True, hidden=True)
@common
@run_command("tm-spawn")
def spawn_main(target: str, processes: int, **options: Any) -> int:
    """A slave with N worker processes: the same as tm-slave --processes=N.

    \b
    Example:
        tm-spawn backfill.py 8 --host=10.0.0.1:5050 --key-file=tm.key
    """
    from taskmaster import api
    from taskmaster.options import SlaveOptions

    options.pop("progress", None)
    return api.work(target, SlaveOptions(processes=processes, **options))
