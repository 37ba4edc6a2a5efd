"""Whether what Taskmaster writes and reads by still does that: libraries put faster functions in
the place of those of ``json``, and tests put empty ones in the place of threads.

With those, a state would be refused as damaged at the resume, or a run stand still without a word.
"""

from __future__ import annotations

import _thread
import json
import threading

from taskmaster.errors import TargetError
from taskmaster.runtime.exhaustion import is_exhausted
from taskmaster.runtime.tracebacks import one_line

__all__ = ["check"]

THREAD_WAIT_SECONDS = 10.0
SAMPLE = ["\N{LATIN SMALL LETTER E WITH ACUTE}", {"n": None}, [1, True, 2**70]]


def check(where: str) -> None:
    """Refuse to run a master by functions that do something else.

    Args:
        where: What has replaced them, for messages.

    Raises:
        TargetError: The run could not be kept, or would stand still.
    """
    for name, look in (("json", _json), ("threading.Thread", _thread_runs)):
        try:
            wrong = look()
        except Exception as exc:  # of functions of other people's
            if is_exhausted(exc):
                raise
            wrong = one_line(exc)
        if wrong:
            raise TargetError(
                f"{name} does not do what Python's does ({wrong}): {where}, or what it imports, has replaced it, and "
                "Taskmaster cannot do without it. Give the other function a name of its own, or replace this "
                "one in the callback alone."
            )


def _json() -> str:
    text: object = json.dumps(SAMPLE)
    if not isinstance(text, str):
        return f"json.dumps() gives {type(text).__name__}"
    if "\n" in text:
        return "json.dumps() gives several lines"
    return "" if json.loads(text) == SAMPLE else "what was written is read as something else"


def _thread_runs() -> str:
    lock = _thread.allocate_lock()
    lock.acquire()
    threading.Thread(target=lock.release, daemon=True).start()
    return "" if lock.acquire(timeout=THREAD_WAIT_SECONDS) else "a thread was started and does not run"
