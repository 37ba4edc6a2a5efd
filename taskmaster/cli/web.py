"""``tm-web``: the page of a run whose master was started without one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

import click

from taskmaster.cli.command import loaded, run_command
from taskmaster.cli.completing import of_state
from taskmaster.cli.echo import echo
from taskmaster.cli.options import CONTEXT_SETTINGS, SectionedCommand, common, option, options_of, parse_arguments
from taskmaster.cli.which_run import one_master
from taskmaster.options.commands import MasterOptions
from taskmaster.options.page import PageOptions

__all__ = ["main", "tm_web"]


@click.command(cls=SectionedCommand, context_settings=CONTEXT_SETTINGS)
@click.argument("state", required=False, shell_complete=of_state)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)
@option(MasterOptions, "host", help="Address of the master, if no STATE is given.")
@option(MasterOptions, "key")
@option(MasterOptions, "key_file")
@option(MasterOptions, "get_jobs_callback")
@option(PageOptions, "web", default="auto", show_default=False)
@options_of(PageOptions, without=("web",))
@common
def tm_web(state: str | None, arguments: tuple[str, ...], **given: Any) -> int:
    """Show a running run in a browser, and steer it.

    STATE is the state file of its run, or the TARGET with the arguments that it was given. A master
    that was started with --web has a page of its own. While the master is gone, the page says so,
    and connects again by itself. Interrupt the command to end it; the run goes on.

    \b
    Examples:
      tm-web backfill.py
      tm-web --host=10.0.0.1:5050 --key-file=tm.key --web-readonly
    """  # noqa: D301
    logging.getLogger("taskmaster").setLevel(given["log_level"].upper())
    page = PageOptions(**{one.name: given[one.name] for one in fields(PageOptions)})
    page.check_page()
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of
    from taskmaster.runner.page_beside import serve_beside
    from taskmaster.runner.page_plan import plan_of
    from taskmaster.runner.steer_client import SteerClient

    plan, state = plan_of(page), one_master(state)
    path = "" if state is None else str(state_of(state, parse_arguments(arguments), given["get_jobs_callback"]))

    def connect() -> SteerClient:
        host = control.master_of(path) if path else given["host"]
        return SteerClient(host, given["key"], given["key_file"], via="web")

    loaded()
    return 0 if plan is None else serve_beside(plan, connect, path, lambda line: echo(line, err=True))


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command as a program."""
    run_command(tm_web, "tm-web", words)
