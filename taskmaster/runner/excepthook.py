"""What becomes of an error that a script does not catch.

An error stays an exception that a larger program can catch, with options as scripts spell them. One
that reaches the end of a script ends it as it ends a command: with one line, and the exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from taskmaster.errors import TaskmasterError
from taskmaster.options.script_spelling import as_keywords
from taskmaster.runtime import standard_streams
from taskmaster.runtime.error_output import say_error, shown
from taskmaster.runtime.exhaustion import exhausted, is_exhausted
from taskmaster.runtime.invocation import is_interactive

__all__ = ["ScriptEnd", "for_scripts"]

IPYTHONS_HOOK = "_render_traceback_"  # gives the lines that IPython and notebooks show of an exception

_debug = False


class ScriptEnd(SystemExit):
    """The end of a script whose run a signal has ended; all is said already."""


@contextmanager
def for_scripts(*, debug: bool) -> Iterator[None]:
    """Let errors that leave the block be in a script's words, and end the script if it does not
    catch them.

    Args:
        debug: Whether to show Taskmaster's own traceback of an error that is not caught.
    """
    try:
        yield
    except TaskmasterError as exc:
        exc.args = (as_keywords(str(exc)), *exc.args[1:])
        if not debug:
            setattr(exc, IPYTHONS_HOOK, partial(shown, "taskmaster", exc, debug=False))
        _end_with_it(debug=debug)
        raise
    except ScriptEnd:
        _end_with_it(debug=debug)
        raise
    except Exception as exc:
        if not is_exhausted(exc):
            raise
        _end_with_it(debug=debug)
        raise TaskmasterError(exhausted(exc)) from exc


def _end_with_it(*, debug: bool) -> None:
    """Show in one line an error that nobody catches, unless the program has an excepthook of its
    own.
    """
    global _debug  # noqa: PLW0603  # sys.excepthook is global, too
    _debug = debug
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    if isinstance(exc, ScriptEnd):
        return  # `python -i` shows it, and goes on to its prompt
    if not isinstance(exc, TaskmasterError):
        sys.__excepthook__(kind, exc, trace)
        return
    if is_interactive() or sys.flags.inspect:  # somebody types, and has not ended
        say_error("taskmaster", exc, debug=_debug)
        return
    # What a full disk refuses would be written again at the exit, whose code were 120 then.
    standard_streams.harden()
    say_error("taskmaster", exc, debug=_debug)
    raise SystemExit(exc.exit_code)
