"""How a command begins and ends.

Only here does an error become a message and an exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from taskmaster.cli import COMMAND_PREFIX
from taskmaster.cli.completing import without_equals_signs
from taskmaster.cli.echo import echo
from taskmaster.cli.options import Invocation
from taskmaster.cli.pid1 import leave_first_process
from taskmaster.cli.slips import no_such_option
from taskmaster.errors import TaskmasterError, UsageError
from taskmaster.redaction import without_passwords_in
from taskmaster.runtime import standard_streams, working_directory
from taskmaster.runtime.error_output import say_error
from taskmaster.runtime.exhaustion import exhausted, is_exhausted
from taskmaster.runtime.exit_guard import ends_without_threads, keep_exit_code
from taskmaster.runtime.tracebacks import one_line

__all__ = ["loaded", "run_command"]


def _unexpected(exc: Exception, *, debug: bool) -> str:
    if isinstance(exc, OSError) and exc.errno in _UNWRITABLE and exc.filename is None:
        return f"what was to be printed cannot be written: {exc.strerror}."
    if is_exhausted(exc):
        return f"{exhausted(exc)}{'' if debug else _AGAIN}"
    return f"unexpected error: {one_line(exc)}{'' if debug else _AGAIN}"


def _wrongly_given(exc: Exception) -> str:
    """Return what is wrong with a path or with the directory that a command was given; "" if
    nothing is.
    """
    if isinstance(exc, FileNotFoundError) and working_directory.find() is None:
        return working_directory.GONE
    if isinstance(exc, OSError) and exc.errno == errno.ENAMETOOLONG and exc.filename is not None:
        path = os.fsdecode(exc.filename)
        return f"{path} cannot be the name of a file: it is too long. Give a shorter one."
    return ""


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_AGAIN = "; run the same command again with --debug to see where"


def run_command(command: click.Command, name: str, words: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit.

    Args:
        command: Its body may return an exit code; None is 0.
        name: What it is called in messages.
        words: The command line after the name; None: that of this process.
    """
    if sys.platform == "win32":
        echo(
            f"{name}: Taskmaster does not run on Windows, which cannot fork worker processes. It runs in WSL, the "
            "Windows Subsystem for Linux: install that with `wsl --install`, and Taskmaster inside it.",
            err=True,
        )
        sys.exit(2)
    standard_streams.fill()
    standard_streams.harden()
    if not any(word.endswith("_COMPLETE") and word.startswith("_TM_") for word in os.environ):
        leave_first_process()
    elif "bash_complete" in os.environ.values():
        without_equals_signs(os.environ)
    _forget_notification()
    # Loading makes many objects and no garbage. To look for garbage meanwhile, and once more among
    # all that was loaded when the process ends, takes as long as the loading.
    gc.disable()
    try:
        code = _run(command, name, words)
    finally:
        gc.freeze()
        gc.enable()
    code = _flushed(code)
    keep_exit_code(code)
    if ends_without_threads() or _would_stay_at_prompt():
        _end_here(code)
    raise SystemExit(code)  # sys.exit() may have been replaced, and a run that was stopped would end with 0


def _would_stay_at_prompt() -> bool:
    """Return whether the environment (PYTHONINSPECT) has Python stay at a prompt after a command,
    or show a traceback and end with 1 where nobody can type: that is meant for scripts.
    """
    name = sys.argv[0].rpartition(os.sep)[2] if sys.argv else ""
    return bool(sys.flags.inspect and os.environ.get("PYTHONINSPECT") and name.startswith(COMMAND_PREFIX))


def _end_here(code: int) -> NoReturn:
    """End this process as Python would, and with that code."""
    try:
        if not ends_without_threads():
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
            atexit._run_exitfuncs()  # noqa: SLF001
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)


OF_NOTIFICATIONS = ("TASKMASTER_STATE", "TASKMASTER_FAILED", "TASKMASTER_TOTAL")
"""Variables that a command of ``--notify`` is given, and that are options, too."""


def _forget_notification() -> None:
    """Take no option from what was said of another run: a command that was notified may start
    one.
    """
    if "TASKMASTER_EVENT" in os.environ:
        for name in OF_NOTIFICATIONS:
            os.environ.pop(name, None)


def loaded() -> None:
    """Look for garbage from now on: all that the command needs has been imported."""
    gc.freeze()
    gc.enable()


def _run(command: click.Command, name: str, words: Sequence[str] | None) -> int:
    invocation = Invocation()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # it was one of the system's while this was loaded
        with working_directory.kept():
            code = command.main(
                None if words is None else list(words), prog_name=name, standalone_mode=False, obj=invocation
            )
    except TaskmasterError as exc:
        say_error(name, exc, debug=invocation.debug)
        return exc.exit_code
    except click.ClickException as exc:
        said = no_such_option(exc) if isinstance(exc, click.NoSuchOption) else exc
        said.show(shown := io.StringIO())
        # The message repeats the argument, which may be a DSN without its option.
        click.echo(without_passwords_in(shown.getvalue()), err=True, nl=False)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Exception as exc:
        return _failed(name, exc, debug=invocation.debug)
    return code if isinstance(code, int) else 0


def _failed(name: str, exc: Exception, *, debug: bool) -> int:
    if isinstance(exc.__cause__, KeyboardInterrupt):  # Python 3.11 wraps what comes while a class is made
        return 128 + signal.SIGINT
    if debug:
        traceback.print_exc()
    given = _wrongly_given(exc)
    echo(f"{name}: {given or _unexpected(exc, debug=debug)}", err=True)
    return UsageError.exit_code if given else 1


def _flushed(code: int) -> int:
    """Write out what is left, so that Python does not complain at its end about a reader who has
    gone away.
    """
    try:
        sys.stdout.flush()
    except (AttributeError, ValueError):
        pass  # there is none, or it is closed
    except OSError as exc:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            return code or 1  # what was printed is not all there
    return code
