"""Slips on a command line: which option somebody meant who gave one that a command does not have,
and where a value stands that is refused.
"""

from __future__ import annotations

import re
from dataclasses import fields

import click
from click.core import ParameterSource

from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions

__all__ = ["CONFIG_FILE", "no_such_option", "with_origin"]

CONFIG_FILE = "taskmaster.config_file"  # where a command keeps the path of its file of options
COMMANDS = {"tm-run": RunOptions, "tm-master": MasterOptions, "tm-slave": SlaveOptions}
# What other tools call what a command has under another name.
CALLED_OTHERWISE = {
    **dict.fromkeys(("workers", "jobs", "n", "j"), "processes"),
    **dict.fromkeys(("time-limit", "max-time"), "run-time"),
    **dict.fromkeys(("verbose", "v"), "log-level"),
    **dict.fromkeys(("quiet", "q"), "no-progress"),
}
OF_ITSELF = ("resume", "continue")  # what the same command does when it is given again
LIKENESS = 0.65  # of two names, from 0 to 1, from which on one may be a slip for the other
_OPTION = r"--([a-z][a-z-]*)"


def no_such_option(error: click.NoSuchOption) -> click.UsageError:
    """Return an error about an option that a command does not have, with what was meant: a word
    that is no option, the same option spelled or called otherwise, the commands that have it, or
    names that are like it. The two hyphens make no names alike.
    """
    return click.UsageError(f"No such option '{error.option_name}'{_meant(error)}", error.ctx)


def _meant(error: click.NoSuchOption) -> str:
    params = error.ctx.command.params if error.ctx is not None else []
    given, own = error.option_name, _names(params)
    name = given.lstrip("-").replace("_", "-").lower()
    for param in params:
        if isinstance(param, click.Argument) and param.name == name:
            return f": {name.upper()} is a word of its own, without that."
    for meant in filter(None, (name, CALLED_OTHERWISE.get(name))):
        if meant in own:
            return f". Did you mean '--{meant}'?"
        having = [command for command, cls in COMMANDS.items() if _has(cls, meant)]
        if having:
            what = "it" if given == f"--{meant}" else f"--{meant}"
            return f": {what} is one of {' and '.join(having)}."
    if name in OF_ITSELF and "reset" in own:
        return ": a run goes on where it was when its command is given again, without an option."
    import difflib

    near = [f"'--{one}'" for one in difflib.get_close_matches(name, own, 3, LIKENESS)]
    return f". Did you mean {' or '.join(near)}?" if near else "."


def _names(params: list[click.Parameter]) -> list[str]:
    """Return the names of the options that the help shows, without hyphens."""
    shown = [param for param in params if isinstance(param, click.Option) and not param.hidden]
    return [*(name[2:] for param in shown for name in param.opts if name.startswith("--")), "help"]


def _has(cls: type[MasterOptions | SlaveOptions], name: str) -> bool:
    return any(one.name.replace("_", "-") == name for one in fields(cls))


def with_origin(ctx: click.Context, said: UsageError, error: Exception) -> Exception:
    """Return an error about an option, with the file or the variable that has set the option.
    Return any other error as it is.
    """
    named = re.search(_OPTION, str(said))
    name = named[1].replace("-", "_") if named is not None else ""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return UsageError(f"{said} That stands in {ctx.meta[CONFIG_FILE]}.")
    if source is ParameterSource.ENVIRONMENT:
        variable = next((param.envvar for param in ctx.command.params if param.name == name), None)
        return UsageError(f"{said} That stands in the variable {variable}.")
    return error
