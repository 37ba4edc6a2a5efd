"""What all commands share: options with one spelling, errors as sentences, exit codes.

Called by the modules beside it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import click

from taskmaster import __version__
from taskmaster.errors import TaskmasterError, UsageError

PROGRESS = ("auto", "bar", "lines", "json", "none")

__all__ = ["Words", "common", "key_options", "master_options", "parse_arguments", "run_command", "slave_options"]

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TASKMASTER", "show_default": True}
LEVELS = click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False)


class Words(click.Command):
    """A command whose environment variables are called after the option alone: TASKMASTER_SIZE for all commands."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> click.Context:
        """As click's, with the same prefix for every command."""
        extra.setdefault("auto_envvar_prefix", "TASKMASTER")
        return super().make_context(info_name, args, parent, **extra)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def key_options(host: str | None, meaning: str) -> Callable[[F], F]:
    """--host and where the key comes from."""
    return _options(
        click.option("--host", "--address", "host", metavar="HOST:PORT", default=host, help=meaning),
        click.option(
            "--key",
            metavar="TEXT",
            allow_from_autoenv=False,
            help="The shared key; seen in the list of processes. Or TASKMASTER_KEY.",
        ),
        click.option("--key-file", metavar="PATH", help="A file with the key (tm-ctl keygen makes one)."),
    )


master_options = _options(
    click.option("--size", type=int, default=10_000, metavar="N", help="Most jobs in the queue."),
    click.option("--span", type=int, default=100_000, metavar="N", help="Most jobs between the watermark and the newest job read."),
    click.option("--state", metavar="PATH", help="The state file; by default named after the target, in this directory."),
    click.option("--reset", is_flag=True, help="Begin a new run; the former one can be taken back."),
    click.option("--total", type=int, metavar="N", help="How many jobs there are, for percent and time left."),
    click.option("--progress", type=click.Choice(PROGRESS), default="auto", help="How the progress is shown."),
    click.option("--no-progress", is_flag=True, help="The same as --progress=none."),
    click.option("--lease", type=float, default=60.0, metavar="SECONDS", help="Silence after which a slave is lost."),
    click.option("--lease-grace", type=float, default=2.0, metavar="SECONDS", help="Time to come back for a slave whose connection closed."),
    click.option("--get-jobs-callback", metavar="NAME", help="The function that yields jobs, if not get_jobs."),
)  # fmt: skip
slave_options = _options(
    click.option("--threads", type=int, default=1, metavar="N", help="Jobs at once in each worker, in threads."),
    click.option("--concurrency", type=int, default=1, metavar="N", help="Jobs at once in each worker, for an async handle_job."),
    click.option("--batch", type=int, metavar="N", help="Jobs in a batch, if not chosen by what they take."),
    click.option("--handle-job-callback", metavar="NAME", help="The callback, if not handle_job."),
)  # fmt: skip
wait_option = click.option("--wait", type=float, default=3600.0, metavar="SECONDS", help="How long to wait for the master; 0: not at all.")  # fmt: skip
common = _options(
    click.option("--grace", type=float, default=30.0, metavar="SECONDS", help="Time for running jobs to end after Ctrl-C."),
    click.option("--log-level", type=LEVELS, default="warning", help="What is logged to standard error."),
    click.option("--debug", is_flag=True, help="Show Taskmaster's own tracebacks."),
    click.version_option(__version__, message="%(prog)s %(version)s"),
)  # fmt: skip


def parse_arguments(words: tuple[str, ...]) -> dict[str, str]:
    """``k=v`` words as keyword arguments, all text.

    Raises:
        UsageError: a word that is not ``k=v``, a name twice, or ``last``.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{word!r} is no argument for get_jobs: write NAME=VALUE, as in limit=10.")
        if name == "last":
            raise UsageError(
                f"{word!r} cannot be given: `last` is what get_jobs is passed when a run is resumed. Call the argument "
                f"something else."
            )
        if name in found:
            raise UsageError(f"{name} is given twice, as {found[name]!r} and as {value!r}.")
        found[name] = value
    return found


def run_command(name: str) -> Callable[[Callable[..., int]], Callable[..., None]]:
    """Exit as the function says; errors become sentences on standard error and the exit code of their class."""

    def decorate(function: Callable[..., int]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapped(**options: Any) -> None:
            debug = bool(options.get("debug"))
            if options.pop("no_progress", False):
                options["progress"] = "none"
            logging.getLogger("taskmaster").setLevel(str(options.get("log_level", "warning")).upper())
            raise SystemExit(_exit_code(name, lambda: function(**options), debug))

        return wrapped

    return decorate


def _exit_code(name: str, call: Callable[[], int], debug: bool) -> int:
    try:
        if sys.platform == "win32":
            raise UsageError(
                "Taskmaster does not run on Windows itself: use it in WSL, the Windows Subsystem for Linux."
            )
        return call()
    except TaskmasterError as exc:
        if exc.user_traceback:
            click.echo(exc.user_traceback.rstrip(), err=True)
        if debug:
            traceback.print_exc()
        if str(exc):
            click.echo(f"{name}: {exc}", err=True)
        return exc.exit_code
    except click.ClickException:
        raise
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as exc:
        if debug:
            traceback.print_exc()
        again = "" if debug else " Run it again with --debug to see where."
        click.echo(f"{name}: an unexpected error, {type(exc).__name__}: {exc}.{again}", err=True)
        return 1
