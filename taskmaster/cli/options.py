"""Makes the options of command lines from the declared ones, and reads their values.

``command`` makes a command with the options of a class of ``taskmaster.options.commands``;
``option`` gives it a single one. Each option has the same spelling and help text in every command.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from functools import cache
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from taskmaster import __version__
from taskmaster.cli.config_file import FileSettings, settings_for
from taskmaster.cli.echo import echo
from taskmaster.cli.slips import CONFIG_FILE, with_origin
from taskmaster.cli.variables import unknown_variables
from taskmaster.django_orm.integration import OTHER_DATABASES, SETTINGS_VARIABLE
from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions
from taskmaster.options.option import Option, Section, option_of, spelling
from taskmaster.records import changing
from taskmaster.redaction import without_password, without_passwords_in
from taskmaster.runtime.invocation import note_sources

__all__ = [
    "CONTEXT_SETTINGS",
    "Invocation",
    "SectionedCommand",
    "command",
    "common",
    "json_option",
    "merge",
    "option",
    "options_of",
    "parse_arguments",
]

CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 100,
}
"""Click's settings for every command."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


@changing(slots=False, compared=True)
class Invocation:
    """The parts of a command line that are still needed after the command has failed, when click
    has dropped its parameters.
    """

    debug: bool = False


# -- from a declaration to an option of click ------------------------------------------------------


class SectionedOption(click.Option):
    """An option with its section of the help."""

    section = Section.OUTPUT


# Options that a user might give several times, and why they cannot.
_GIVEN_ONCE = {
    "pace": "a run spares one database. Give the one that others wait for, and for the other ones --guard, which can "
    "be given several times."
}


class SectionedCommand(click.Command):
    """A command whose help lists its options in sections, and that reads some from a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the file with options, and then the command line, which takes precedence."""
        try:
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError:
            given, order = None, []  # parse_args of click raises it again below
        names = [param.name for param in order]
        for name, why in _GIVEN_ONCE.items():
            if names.count(name) > 1:
                raise UsageError(f"--{name} is given twice: {why}")
        asks = {*ctx.help_option_names, "--version"} & set(args)
        if given is None or ctx.resilient_parsing or asks:
            return super().parse_args(ctx, args)
        path = given.get("config") or os.environ.get("TASKMASTER_CONFIG") or None
        target = given.get("target")
        settings = FileSettings()
        without = os.environ.get("TASKMASTER_NO_CONFIG", "").lower() not in ("", "0", "false", "no", "off")
        if not given.get("no_config") and not (without and not given.get("config")):
            settings = settings_for(str(ctx.info_name), target if isinstance(target, str) else None, path)
        ctx.default_map = dict(settings.values)
        ctx.meta[CONFIG_FILE] = settings.path
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as exc:
            raise with_origin(ctx, UsageError(exc.format_message()), exc) from None
        except UsageError as exc:
            raise with_origin(ctx, exc, exc) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        rows: dict[Section, list[tuple[str, str]]] = {section: [] for section in Section}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows[getattr(param, "section", Section.OUTPUT)].append(record)
        for section, records in rows.items():
            if records:
                with formatter.section(section.value):
                    formatter.write_dl(records)


class _Lines(click.types.StringParamType):
    """An option of several texts, which an environment variable has one in each line: a text may
    have blanks.
    """

    envvar_list_splitter = "\n"


def option(cls: type[Any], name: str, **changes: Any) -> _Decorator[Any]:
    """Give a command an option.

    Args:
        cls: The options class that declares it.
        name: Its field.
        **changes: Arguments of ``click.option`` that are different for this command.
    """
    return _decorator(next(one for one in fields(cls) if one.name == name), changes)


def options_of(cls: type[Any], *, without: Sequence[str] = ()) -> _Decorator[Any]:
    """Give a command all options of a class, except those named in ``without``."""

    def decorate(function: _Function) -> _Function:
        for one in reversed(fields(cls)):
            if one.name not in (*without, "log_level", "debug"):
                function = _decorator(one)(function)
        return function

    return decorate


def _decorator(one: Field[Any], changes: dict[str, Any] | None = None) -> _Decorator[Any]:
    declared = option_of(one)
    spellings = [spelling(one.name), *filter(None, [declared.alias])]
    given = {**_attributes(one, declared), **(changes or {})}
    decorator: _Decorator[Any] = click.option(*spellings, one.name, cls=_class_of(declared.section), **given)
    return decorator


@cache
def _class_of(section: Section) -> type[SectionedOption]:
    return type("Option", (SectionedOption,), {"section": section})


def _attributes(one: Field[Any], declared: Option) -> dict[str, Any]:
    unset = f"  [default: {declared.unset}]" if declared.unset else ""
    found: dict[str, Any] = {"help": declared.help + unset}
    if declared.environment:
        found["envvar"] = f"TASKMASTER_{one.name.upper()}"
    if declared.type is bool:
        return {**found, "is_flag": True, "default": False, "show_default": False}
    # None is left out: click takes it for a default, with which a required option is not missing.
    if one.default is not None:
        found["default"] = one.default
    found["metavar"] = declared.metavar
    if declared.choices:
        found["type"] = click.Choice(declared.choices, case_sensitive=False)
    elif declared.several:
        found.update(type=_Lines(), multiple=True)
    elif isinstance(declared.alone, int):
        found.update(is_flag=False, flag_value=str(declared.alone), callback=_read_alone(declared.alone))
    elif declared.alone is not None:
        found.update(is_flag=False, flag_value=declared.alone)
    elif declared.read is not None:
        found.update(type=str, callback=_read(declared.read))  # type=str: click would guess from the default
    else:
        found["type"] = declared.type
    return found


def _read(read: Callable[[str, Any], object]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    return lambda _ctx, param, value: None if value is None else read(param.opts[0], value)


def _read_alone(alone: int) -> Callable[[click.Context, click.Parameter, str | None], int | None]:
    """Return a callback that reads the value of an option that may be given without one."""

    def read(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            # The value may be the next argument, which was not meant for this option.
            raise UsageError(
                f"{param.opts[0]} is {value!r}, which is not a number of jobs: write {param.opts[0]} as the last word, "
                f"or with its number, as in {param.opts[0]}={alone}."
            ) from None

    return read


# -- what only command lines have ------------------------------------------------------------------


def no_progress(**changes: Any) -> _Decorator[Any]:
    """Give a command ``--no-progress``."""
    given = {"help": "The same as --progress none.", "envvar": "TASKMASTER_NO_PROGRESS", **changes}
    return click.option("--no-progress", is_flag=True, cls=_class_of(Section.OUTPUT), **given)


json_option = click.option("--json", "as_json", is_flag=True, envvar="TASKMASTER_JSON", help="As JSON, for programs.")
"""Give a command ``--json``."""


def _config(function: _Function) -> _Function:
    """Give a command ``--config`` and ``--no-config``, which are read before all others."""
    described = "The file with options, instead of taskmaster.toml or [tool.taskmaster] of pyproject.toml."
    cls = _class_of(Section.OUTPUT)
    shared: dict[str, Any] = {"cls": cls, "expose_value": False}
    decorated = click.option("--config", metavar="PATH", envvar="TASKMASTER_CONFIG", help=described, **shared)(function)
    return click.option(
        "--no-config", is_flag=True, envvar="TASKMASTER_NO_CONFIG", help="Read no options from a file.", **shared
    )(decorated)


def refused(name: str) -> _Decorator[Any]:
    """Give a command an option of release 0.8.2, to refuse it with a better sentence than "no such
    option".
    """

    def gone(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise click.UsageError(
                f"{param.opts[0]} was about the network in release 0.8.2, and there is no such option now: a slave "
                "waits for its master as long as --wait says, and connects again by itself.",
                ctx,
            )

    # A parameter of its own: a present option may have the same name.
    unseen = f"{name.lstrip('-')}_of_0_8_2"
    return click.option(name, unseen, hidden=True, expose_value=False, callback=gone)


def common(function: _Function) -> _Function:
    """Give a command the options that every command has."""

    def remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        ctx.ensure_object(Invocation).debug = value
        return value

    decorated = click.version_option(__version__, message="%(prog)s %(version)s")(function)
    decorated = option(MasterOptions, "debug", is_eager=True, callback=remember_debug)(decorated)
    decorated = option(MasterOptions, "log_level")(decorated)
    return cast("_Function", decorated)


def command(
    cls: type[Any], *, without: Sequence[str] = (), gone: Sequence[str] = ("--timeout",), **progress: Any
) -> Callable[[Callable[..., Any]], SectionedCommand]:
    """Make a command with the options of a class, and with those of every command.

    Args:
        cls: The options class.
        without: Fields of the class that become no options.
        gone: Options of release 0.8.2 that the command refuses.
        **progress: Arguments of ``click.option`` for ``--no-progress`` that are different.
    """

    def decorate(function: Callable[..., Any]) -> SectionedCommand:
        decorated = common(function)
        for name in gone:
            decorated = refused(name)(decorated)
        decorated = options_of(cls, without=without)(no_progress(**progress)(_config(decorated)))
        return click.command(cls=SectionedCommand, context_settings=CONTEXT_SETTINGS)(decorated)

    return decorate


# -- from a command line to values -----------------------------------------------------------------


_SOURCES: dict[ParameterSource | None, str] = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
}


def merge(cls: type[Any], given: dict[str, Any]) -> Any:
    """Make options of the parameters that click has parsed, and set up logging.

    Args:
        cls: The options class, of ``taskmaster.options.commands``.
        given: Parameters of the command; ``no_progress`` sets ``progress``.
    """
    if given.get("django_settings"):
        # Django looks for it there, and child processes inherit it.
        os.environ[SETTINGS_VARIABLE] = given["django_settings"]
    if "other_databases" in given:
        os.environ[OTHER_DATABASES] = "1" if given["other_databases"] else ""
    # A secret, which no worker needs: a slave may have it in its environment, too.
    os.environ.pop("TASKMASTER_NOTIFY", None)
    silent = given.pop("no_progress", False)
    if silent:
        given["progress"] = "none"
    logger = logging.getLogger("taskmaster")
    logger.setLevel(given["log_level"].upper())
    if logger.isEnabledFor(logging.WARNING) and (unknown := unknown_variables(os.environ)):
        echo(f"taskmaster: {unknown}", err=True)
    ctx = click.get_current_context(silent=True)
    unseen = False  # whether a value comes from a file or the environment
    if ctx is not None:
        stands_in = {"progress": "no_progress"} if silent else {}
        sources = {name: ctx.get_parameter_source(stands_in.get(name, name)) for name in given}
        note_sources({name: _SOURCES.get(source, "default") for name, source in sources.items()})
        unseen = not {"file", "environment"}.isdisjoint(_SOURCES.get(source, "") for source in sources.values())
    options = cls(**given)
    if ctx is not None and unseen:
        try:
            options.check()
        except UsageError as exc:
            raise with_origin(ctx, exc, exc) from None
    return options


NO_NUMBER = "{0} says nothing of which run is meant: leave the number of worker processes out."


def parse_arguments(words: Sequence[str], number: str = NO_NUMBER) -> dict[str, str]:
    """Read ``key=value`` words, the arguments of ``get_jobs``.

    Args:
        words: The words.
        number: The message about a word that is a number, as of worker processes.

    Raises:
        UsageError: A word is something else, comes twice, or is ``last``.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        shown = without_password(word)
        if word.isdecimal():
            raise UsageError(number.format(word))
        if not equals or not name.isidentifier():
            raise UsageError(
                f"{shown!r} is not an argument for get_jobs: arguments are written key=value, as in since=2024-01-01, "
                "and the key is a Python name."
            )
        if name == "last":
            raise UsageError(
                f"{shown!r} cannot be given: `last` is what get_jobs gets from Taskmaster when a run is resumed. Call "
                f"an argument of yours something else, such as first={without_password(value)}."
            )
        if name in found:
            first, second = without_passwords_in([f"{name}={found[name]}", f"{name}={value}"])
            raise UsageError(f"{name} is given twice, as {first!r} and as {second!r}: leave one out.")
        found[name] = value
    return found
