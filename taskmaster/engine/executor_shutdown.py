"""The end of an executor, which is waited for, but not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from taskmaster.runtime.tracebacks import one_line

__all__ = ["shut_down"]

SHUTDOWN_POLL_SECONDS = 0.02  # between two checks whether it is still waited for


def shut_down(executor: Any, seconds: float, hurry: Callable[[], bool]) -> str:
    """Shut an executor down; return what went wrong, "" if nothing did.

    Args:
        executor: Whose workers have nothing more to do.
        seconds: How long that may take.
        hurry: Whether nothing may be waited for any more.
    """
    raised: list[BaseException] = []

    def end() -> None:
        try:
            executor.shutdown(wait=True)
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=end, name="taskmaster-executor-end", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline and not hurry():
        thread.join(SHUTDOWN_POLL_SECONDS)
    if raised:
        return f"the executor could not be shut down: {one_line(raised[0])}"
    return f"the executor had not ended after {seconds:.0f} s" if thread.is_alive() else ""
