"""The common part of the commands of ``tm-ctl`` that ask a running master: the options that name
the run, and how tables and times are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from taskmaster.cli.command import loaded
from taskmaster.cli.completing import of_state
from taskmaster.cli.echo import echo
from taskmaster.cli.options import json_option, option, parse_arguments
from taskmaster.errors import UsageError
from taskmaster.master.stores.default_path import SUFFIX
from taskmaster.options.commands import MasterOptions
from taskmaster.redaction import clean
from taskmaster.units import show_rounded

__all__ = [
    "RUN_COMMANDS",
    "client_of",
    "one_master",
    "print_table",
    "reason_option",
    "run_command_of",
    "short_time",
    "state_without_master",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
RUN_COMMANDS: list[click.Command] = []
"""The commands that ``run_command_of`` has made, for the group of ``tm-ctl``."""


def run_command_of(*before: Callable[[Any], Any], name: str | None = None) -> Callable[[_Function], _Function]:
    """Make a command of a function, with its own parameters and those that name a run.

    Args:
        before: Decorators of its own arguments and options, which come before the run.
        name: The name of the command; None: that of the function.
    """

    def decorate(function: _Function) -> _Function:
        found: Any = json_option(function)
        for field in ("get_jobs_callback", "key_file", "key"):
            found = option(MasterOptions, field)(found)
        found = option(MasterOptions, "host", help="Address of the master, if no STATE is given.")(found)
        found = click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1)(found)
        found = click.argument("state", required=False, shell_complete=of_state)(found)
        for one in reversed(before):
            found = one(found)
        RUN_COMMANDS.append(click.command(name)(found))
        return function

    return decorate


def reason_option(function: _Function) -> _Function:
    """Give a command ``--reason``."""
    decorated: _Function = click.option("--reason", metavar="TEXT", default="", help="Why; `tm-ctl trail` shows it.")(
        function
    )
    return decorated


def one_master(state: str | None) -> str | None:
    """Return the STATE that is given, after a check that ``--host`` is not given, too: the two
    might be different runs.

    Raises:
        UsageError: Both are given.
    """
    context = click.get_current_context(silent=True)
    given = context is not None and context.get_parameter_source("host") is ParameterSource.COMMANDLINE
    if state is not None and given:
        raise UsageError(f"The state {state} and --host both name a master, perhaps not the same: leave one out.")
    return state


def _in_their_order() -> None:
    """Refuse arguments in the wrong order, with the run before the command's own argument.

    Raises:
        UsageError: That argument is a state or a Python file, and no run comes after it.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.get_parameter_source("host") is not ParameterSource.DEFAULT:
        return
    state = context.params.get("state")
    for param in context.command.params:
        value = context.params.get(param.name or "")
        if param.name == "state" or not isinstance(param, click.Argument):
            break
        named = isinstance(value, str) and Path(value).suffix in (SUFFIX, ".py") and Path(value).is_file()
        what = str(param.metavar or param.name)
        # A note may be about a file, and its run be the one at the usual address.
        if named and not (state and Path(state).is_file()) and (state or what != "TEXT"):
            raise UsageError(
                f"{value} stands where {what} is expected: write `tm-ctl {context.info_name} {state or what} {value}`."
            )


def state_without_master(where: Mapping[str, Any]) -> str | None:
    """Return the state file that is given if no master of this machine is running on it; else
    None.

    Args:
        where: The parameters that ``run_command_of`` has added.
    """
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of

    _in_their_order()
    if one_master(where["state"]) is None:
        return None
    path = str(state_of(where["state"], parse_arguments(where["arguments"]), where["get_jobs_callback"]))
    return path if control.find_master(path) is None else None


def client_of(where: Mapping[str, Any]) -> Any:
    """Connect to the master of the run that is given; return the client.

    Args:
        where: The parameters that ``run_command_of`` has added.
    """
    from taskmaster.runner import control
    from taskmaster.runner.identities import state_of
    from taskmaster.runner.steer_client import SteerClient

    _in_their_order()
    state, host, path = one_master(where["state"]), where["host"], ""
    if state is not None:
        path = str(state_of(state, parse_arguments(where["arguments"]), where["get_jobs_callback"]))
        host = control.master_of(path)
    loaded()
    return SteerClient(host, where["key"], where["key_file"], via="tm-ctl", state=path)


# -- texts -----------------------------------------------------------------------------------------


def print_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> None:
    """Print rows in columns, cleaned, below a head."""
    rows = [tuple(head), *(tuple(clean(cell) for cell in row) for row in body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def short_time(seconds: float | None) -> str:
    """Return a duration in a few characters; "-" for None."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return show_rounded(seconds)
    return f"{1e3 * seconds:.3g}ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g}us"
