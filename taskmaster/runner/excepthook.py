"""What a script sees of Taskmaster's errors: options as it spells them, and one line where nobody
catches the error.

Used by ``taskmaster.api`` around what a script calls, and by the commands for how an error is
shown. An error stays an exception that a larger program can catch; one that reaches the end of a
script ends it as it ends a command, with the same line and the same exit code.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType

from taskmaster.errors import TaskmasterError
from taskmaster.options.commands import RunOptions
from taskmaster.options.option import option_of, spelling
from taskmaster.redaction import clean_lines, clean_message

__all__ = ["as_keywords", "for_scripts", "is_command", "is_interactive", "say_error"]

_OPTIONS = {spelling(one.name): one for one in fields(RunOptions) if not option_of(one).commands_only}
# A command that is quoted whole is for a terminal, and stays; "(limit= in a script)" has been said
# already.
_SPELLED = re.compile(
    r"(?P<command>(?:\btm-[a-z]+|\bpython) [^`\n]*)|"
    r"(?<![\w-])(?P<option>--[a-z][a-z-]*)(?: \(\w+= in a script\))?"
    r"(?:=(?P<value>'[^']*'|[^\s,;`]*[^\s,;.:)`]))?"
)
_debug = False


@contextmanager
def for_scripts(*, debug: bool) -> Iterator[None]:
    """Around what a script calls: errors that leave the block are in its words.

    Args:
        debug: show Taskmaster's own traceback of one that nobody catches.
    """
    try:
        yield
    except TaskmasterError as exc:
        exc.args = (as_keywords(str(exc)), *exc.args[1:])
        _end_with_it(debug=debug)
        raise


def as_keywords(text: str) -> str:
    """A message with options as keywords: ``limit=`` for ``--limit``, ``reset=True`` for
    ``--reset``.
    """
    return _SPELLED.sub(_spelled, text)


def is_command() -> bool:
    """Whether this process is one of Taskmaster's commands, and no script."""
    return Path(sys.argv[0]).name.startswith("tm-")


def is_interactive() -> bool:
    """Whether somebody types at the prompt of Python, IPython or a notebook."""
    if hasattr(sys, "ps1"):
        return True
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def say_error(name: str, exc: TaskmasterError, *, debug: bool) -> None:
    """Show an error on standard error: the user's traceback, if their code raised, and the message.

    Args:
        name: of the program.
        exc: the error.
        debug: show Taskmaster's own traceback, too.
    """
    parts = [clean_lines(exc.user_traceback.rstrip("\n"))] if exc.user_traceback else []
    if debug:
        parts.append(clean_lines("".join(traceback.format_exception(exc)).rstrip("\n")))
    if str(exc):
        parts.append(clean_message(f"{name}: {exc}"))
    with suppress(OSError, ValueError, AttributeError):  # full, closed or not there: the exit code says it still
        sys.stderr.write("".join(f"{part}\n" for part in parts))


def _spelled(match: re.Match[str]) -> str:
    option = _OPTIONS.get(match["option"] or "")
    if option is None:
        return match[0]
    if isinstance(option.default, bool):
        return f"{option.name}=True"
    value = match["value"]
    if value is None:
        return f"{option.name}="
    if not value.isupper() and not value.isdecimal():  # PATH and HOST:PORT stand for what is to be written
        value = repr(value.strip("'"))
    return f"{option.name}=[{value}]" if isinstance(option.default, tuple) else f"{option.name}={value}"


def _end_with_it(*, debug: bool) -> None:
    """Show in one line what nobody catches, unless the program has a way of its own to show such
    things.
    """
    global _debug  # noqa: PLW0603  # the hook is the process's, too
    _debug = debug
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(exc, TaskmasterError):
        sys.__excepthook__(kind, exc, trace)
        return
    say_error("taskmaster", exc, debug=_debug)
    if not is_interactive():  # else somebody types, and has not ended
        raise SystemExit(exc.exit_code)
