"""``tm-ctl``: look at a run, take one back, make keys."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from taskmaster import __version__
from taskmaster.cli.command import CONTEXT, key_options, run_command

__all__ = ["main"]

debug_option = click.option("--debug", is_flag=True, help="Show Taskmaster's own tracebacks.")


@click.group("tm-ctl", context_settings=CONTEXT)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Look at a running master, take a former run back, make keys.

    \b
    Example:
        tm-ctl status --host=10.0.0.1:5050 --key-file=tm.key
    """


@main.command()
@click.argument("path", default="tm.key")
@debug_option
@run_command("tm-ctl")
def keygen(path: str, **_: Any) -> int:
    """Make a key file that only you can read; master and slaves are given copies of it.

    \b
    Example:
        tm-ctl keygen tm.key
    """
    from taskmaster.transport import keyfile

    made = keyfile.write_new(path)
    click.echo(f"{made} holds a new key. Copy it to the machines of the slaves, and give --key-file={path} everywhere.")
    return 0


@main.command()
@key_options("127.0.0.1:5050", "Where the master is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
@run_command("tm-ctl")
def status(host: str, key: str | None, key_file: str | None, as_json: bool, **_: Any) -> int:
    """Print what a running master is doing.

    \b
    Example:
        tm-ctl status --host=10.0.0.1:5050 --key-file=tm.key --json
    """
    from taskmaster import api
    from taskmaster.model import Snapshot
    from taskmaster.view.text import status_line

    found = api.status(host, key, key_file)
    if as_json:
        click.echo(json.dumps(found))
        return 0
    snapshot = Snapshot(**found)
    click.echo(status_line(snapshot, snapshot.settled_here / snapshot.elapsed if snapshot.elapsed else 0.0))
    click.echo(f"run {snapshot.run} of {snapshot.target}; all is settled up to the key {snapshot.watermark or '(none yet)'}")
    return 0


@main.command()
@click.argument("state")
@debug_option
@run_command("tm-ctl")
def runs(state: str, **_: Any) -> int:
    """List the runs that the file STATE holds, the newest first; * is the one that a master would resume.

    \b
    Example:
        tm-ctl runs backfill.tmstate
    """
    from taskmaster import api, keys

    for record in api.runs(state):
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started))
        key = keys.show(record.mark) if record.mark is not None else "(none)"
        how = "finished" if record.finished else "can be resumed"
        click.echo(
            f"{'*' if record.resumed else ' '} {record.id}  began {began}  {record.settled} jobs, {record.failures} failed  "
            f"key {key}  {how}"
        )
    return 0


@main.command()
@click.argument("run")
@click.option("--state", required=True, metavar="PATH", help="The state file that holds it.")
@debug_option
@run_command("tm-ctl")
def restore(run: str, state: str, **_: Any) -> int:
    """Make the former RUN the one that a master resumes; the one that it takes the place of is kept too.

    \b
    Example:
        tm-ctl restore 1f0c2a --state backfill.tmstate
    """
    from taskmaster import api, keys

    record = api.restore(state, run)
    key = f"key {keys.show(record.mark)}" if record.mark is not None else "the beginning"
    click.echo(f"The run {record.id} is the current one again: a master resumes it at {key} ({record.settled} jobs settled).")
    return 0
