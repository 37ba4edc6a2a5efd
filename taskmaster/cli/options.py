"""What the commands have in common: the options, ``key=value`` arguments, and how a command ends.

Used by the other modules of ``taskmaster.cli``. Each option has one spelling and one help text, in
whatever command it appears, and the defaults are those of ``taskmaster.options.commands``.
``run_command`` is the only place where an error becomes a message and an exit code.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NoReturn, TypeVar

import click

from taskmaster import __version__
from taskmaster.cli.echo import echo
from taskmaster.cli.pid1 import leave_first_process
from taskmaster.cli.stop_options import STOPPING
from taskmaster.cli.throttle_options import THROTTLING
from taskmaster.cli.worker_options import WORKERS
from taskmaster.django_orm.integration import OTHER_DATABASES
from taskmaster.django_orm.integration import SETTINGS as SETTINGS_VARIABLE
from taskmaster.errors import TaskmasterError, UsageError
from taskmaster.options.commands import LOG_LEVELS, PROGRESS_MODES, MasterOptions, RunOptions, SlaveOptions
from taskmaster.runner.excepthook import say_error
from taskmaster.runtime import standard_streams
from taskmaster.runtime.tracebacks import one_line

__all__ = ["SETTINGS", "common", "loaded", "merge", "option", "options", "parse_arguments", "run_command"]

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}
"""Settings that every command is made with."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]


@dataclass
class _Invocation:
    """What has to be known about a command line when the command has failed, and its parameters are
    gone.
    """

    debug: bool = False


def _defaults() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in (RunOptions, SlaveOptions, MasterOptions):
        found.update({one.name: one.default for one in fields(cls) if one.default is not MISSING})
    return found


_DEFAULTS = _defaults()


def _remember_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.ensure_object(_Invocation).debug = value
    return value


def _gone(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            f"{param.opts[0]} was about the network in release 0.8.2, and there is no such option now: a slave waits "
            "for its master as long as --wait says, and connects again by itself.",
            ctx,
        )


# Spellings and everything else that click has to know. The name is the field in
# taskmaster.options.commands.
_KNOWN: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "host": (
        ("--host", "--address"),
        {"metavar": "HOST:PORT", "help": "Where to serve. Any address but this machine's own needs a key."},
    ),
    "key": (
        ("--key",),
        {"metavar": "TEXT", "help": "The shared key. Others on this machine can see it: prefer --key-file."},
    ),
    "key_file": (
        ("--key-file",),
        {
            "metavar": "PATH",
            "help": "File with the shared key, made by `tm-ctl keygen`; or set TASKMASTER_KEY to the key.",
        },
    ),
    "state": (
        ("--state",),
        {"metavar": "PATH", "help": "The state file.  [default: NAME.tmstate in the working directory]"},
    ),
    "reset": (("--reset",), {"is_flag": True, "help": "Begin a new run; the old one is kept and can be taken back."}),
    "adopt": (
        ("--adopt",),
        {
            "is_flag": True,
            "help": "Take over a state that belongs to something else, as after the file was renamed. Give it once.",
        },
    ),
    "state_timeout": (
        ("--state-timeout",),
        {"type": float, "metavar": "SECONDS", "help": "How long to wait for a state that cannot be written."},
    ),
    "failed": (("--failed",), {"is_flag": True, "help": "Run the failed jobs again, and nothing else."}),
    "size": (("--size",), {"type": int, "metavar": "N", "help": "Most jobs in the queue."}),
    "span": (
        ("--span",),
        {"type": int, "metavar": "N", "help": "Most jobs from the watermark to the newest job read."},
    ),
    "total": (
        ("--total",),
        {
            "type": int,
            "metavar": "N",
            "help": "How many jobs there are, for percent and time left, if nothing else tells.",
        },
    ),
    "progress": (
        ("--progress",),
        {
            "type": click.Choice(PROGRESS_MODES, case_sensitive=False),
            "help": "How to show progress; auto is a bar on a terminal, else lines. JSON goes to standard output.",
        },
    ),
    "no_progress": (("--no-progress",), {"is_flag": True, "help": "The same as --progress none."}),
    "grace": (
        ("--grace",),
        {
            "type": float,
            "metavar": "SECONDS",
            "help": "What running jobs have to end after the first Ctrl-C or SIGTERM.",
        },
    ),
    "lease": (
        ("--lease",),
        {"type": float, "metavar": "SECONDS", "help": "Silence after which a slave counts as lost."},
    ),
    "lease_grace": (
        ("--lease-grace",),
        {"type": float, "metavar": "SECONDS", "help": "What a slave has to come back after its connection closed."},
    ),
    "wait": (
        ("--wait",),
        {
            "type": float,
            "metavar": "SECONDS",
            "help": "How long to wait for the master, before it is up and when it is gone; 0: not at all.",
        },
    ),
    "get_jobs_callback": (
        ("--get-jobs-callback",),
        {"metavar": "NAME", "help": "The function that yields jobs, if TARGET names none.  [default: get_jobs]"},
    ),
    "handle_job_callback": (
        ("--handle-job-callback",),
        {"metavar": "NAME", "help": "The function that is called with each job.  [default: handle_job]"},
    ),
    "django_settings": (
        ("--django-settings",),
        {
            "metavar": "PACKAGE.MODULE",
            "help": "Settings of the Django project of TARGET; or set DJANGO_SETTINGS_MODULE.",
        },
    ),
    "other_databases": (
        ("--other-databases",),
        {"is_flag": True, "help": "Let slaves use other Django databases, or settings, than the master."},
    ),
    "json": (("--json", "as_json"), {"is_flag": True, "help": "As JSON, for programs."}),
    "log_level": (
        ("--log-level",),
        {"type": click.Choice(LOG_LEVELS, case_sensitive=False), "help": "What is logged to standard error."},
    ),
    "debug": (
        ("--debug",),
        {"is_flag": True, "is_eager": True, "callback": _remember_debug, "help": "Show Taskmaster's own tracebacks."},
    ),
    # Known only to be refused with a better sentence than "no such option".
    "retries": (
        ("--retries",),
        {"type": int, "metavar": "N", "help": "Attempts after the first that a job gets when its callback raises."},
    ),
    "backoff": (
        ("--backoff",),
        {
            "type": float,
            "metavar": "SECONDS",
            "help": "Wait before the second attempt; it doubles from one to the next.",
        },
    ),
    "crashes": (
        ("--crashes",),
        {
            "type": int,
            "metavar": "N",
            "help": "Workers that a job may kill, or outstay its time in, until it counts as failed.",
        },
    ),
    "job_timeout": (
        ("--job-timeout",),
        {"type": float, "metavar": "SECONDS", "help": "What a job may take; then it is ended.  [default: no limit]"},
    ),
    "outage": (
        ("--outage",),
        {
            "type": float,
            "metavar": "SECONDS",
            "help": "How long the run may hold back, and try one job now and then, while all jobs fail in the same "
            "way; then it stops. 0: it never holds back.  [default: 3600; 0 with --max-failures]",
        },
    ),
    "max_failures": (
        ("--max-failures",),
        {
            "metavar": "N|N%",
            "help": "More failed jobs than that in a session, or a larger share, stop the run.  [default: no limit]",
        },
    ),
    "timeout": (("--timeout",), {"hidden": True, "expose_value": False, "callback": _gone}),
    "retries_of_old": (("--retries",), {"hidden": True, "expose_value": False, "callback": _gone}),
}

_KNOWN |= WORKERS | STOPPING | THROTTLING

_WITHOUT_VARIABLE = (
    "key",
    "timeout",
    "retries_of_old",
)  # TASKMASTER_KEY is taken out of the environment by whoever reads it


def option(name: str, **changes: Any) -> _Decorator[Any]:
    """The decorator that gives a command an option.

    Args:
        name: the field in ``taskmaster.options.commands``.
        **changes: what this command says differently.
    """
    spellings, attributes = _KNOWN[name]
    # To click, a default of None is one too, with which nothing is missing from a required option.
    default = {} if _DEFAULTS.get(name) is None else {"default": _DEFAULTS[name]}
    given = {**default, **attributes, **changes}
    if given.get("is_flag"):
        given["default"] = False
        given["show_default"] = False
    if name not in _WITHOUT_VARIABLE:
        given.setdefault("envvar", f"TASKMASTER_{name.upper()}")
    parameter = spellings[-1:] if not spellings[-1].startswith("-") else (name,)
    return click.option(*(word for word in spellings if word.startswith("-")), *parameter, **given)


def options(*names: str) -> _Decorator[Any]:
    """The decorator that gives a command several options, in the order in which its help lists
    them.
    """

    def decorate(function: _Function) -> _Function:
        for name in reversed(names):
            function = option(name)(function)
        return function

    return decorate


def common(function: _Function) -> _Function:
    """The decorator for what every command has, at the end of its list."""
    version = click.version_option(__version__, message="%(prog)s %(version)s")
    decorated: _Function = options("log_level", "debug")(version(function))
    return decorated


def merge(cls: type[Any], given: dict[str, Any]) -> Any:
    """Make options of what click has parsed, and set up logging.

    Args:
        cls: of ``taskmaster.options.commands``.
        given: parameters of the command; ``no_progress`` is folded into ``progress``.
    """
    if given.get("django_settings"):
        # Where Django looks for it; forked and started processes have it from here.
        os.environ[SETTINGS_VARIABLE] = given["django_settings"]
    if "other_databases" in given:
        os.environ[OTHER_DATABASES] = "1" if given["other_databases"] else ""
    if given.pop("no_progress", False):
        given["progress"] = "none"
    logging.getLogger("taskmaster").setLevel(given["log_level"].upper())
    return cls(**given)


def parse_arguments(words: Sequence[str]) -> dict[str, str]:
    """Read ``key=value`` words, the arguments of ``get_jobs``.

    Raises:
        UsageError: a word is something else, comes twice, or is ``last``.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                f"{word!r} is no argument for get_jobs: they are written key=value, as in since=2024-01-01, and the "
                "key is a Python name."
            )
        if name == "last":
            raise UsageError(
                f"{word!r} cannot be given: `last` is what get_jobs gets from Taskmaster when a run is resumed. Call "
                f"an argument of yours something else, such as first={value}."
            )
        if name in found:
            raise UsageError(f"{name} is given twice, as {found[name]!r} and as {value!r}: leave one out.")
        found[name] = value
    return found


# -- how a command ends ----------------------------------------------------------------------------


def run_command(command: click.Command, name: str, words: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit.

    Args:
        command: its body may return an exit code; None is 0.
        name: what it is called in messages.
        words: the command line after the name; None: that of this process.
    """
    if sys.platform == "win32":
        echo(
            f"{name}: Taskmaster does not run on Windows, which cannot fork worker processes. It runs in WSL, the "
            "Windows Subsystem for Linux: install that with `wsl --install`, and Taskmaster inside it.",
            err=True,
        )
        sys.exit(2)
    standard_streams.fill()
    leave_first_process()
    # Loading makes many objects and no garbage. To look for garbage meanwhile, and once more among
    # all that was loaded when the process ends, takes as long as the loading.
    gc.disable()
    try:
        code = _run(command, name, words)
    finally:
        gc.freeze()
        gc.enable()
    sys.exit(_flushed(code))


def loaded() -> None:
    """All that the command needs has been imported; from now on there may be garbage."""
    gc.freeze()
    gc.enable()


def _run(command: click.Command, name: str, words: Sequence[str] | None) -> int:
    invocation = _Invocation()
    try:
        code = command.main(
            None if words is None else list(words), prog_name=name, standalone_mode=False, obj=invocation
        )
    except TaskmasterError as exc:
        say_error(name, exc, debug=invocation.debug)
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as exc:
        if invocation.debug:
            traceback.print_exc()
        echo(f"{name}: unexpected error: {one_line(exc)}{'' if invocation.debug else _AGAIN}", err=True)
        return 1
    return code if isinstance(code, int) else 0


_AGAIN = "; run the same command again with --debug to see where"


def _flushed(code: int) -> int:
    """Write out what is left, so that Python does not complain at its end about a reader who has
    gone away.
    """
    try:
        sys.stdout.flush()
    except (AttributeError, ValueError):
        pass  # there is none, or it is closed
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
