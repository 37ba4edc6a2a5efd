"""Calls that a callback gives to an executor, that fail, and whose outcome nobody asks for:
``pool.submit(save, row)``, with the future thrown away.

Python says nothing of them. They belong to no job any more when they fail, so that the worker says
so at once, and ends with an error, as it does where a thread has raised.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["watch_futures"]


def watch_futures(say: Callable[[BaseException], None]) -> Callable[[], None]:
    """Notice each future that goes although it has failed and nobody has asked how it went.

    Args:
        say: Called with what it has failed with, by whichever thread throws it away.

    Returns:
        What ends the watch.
    """
    asked = {name: getattr(Future, name) for name in ("result", "exception")}

    def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, timeout: float | None = None) -> Any:
            self._is_asked_for = True
            return ask(self, timeout)

        return noted

    def gone(self: Any) -> None:
        exc = getattr(self, "_exception", None)
        if exc is not None and not getattr(self, "_is_asked_for", False):
            say(exc)

    for name, ask in asked.items():
        setattr(Future, name, noting(ask))
    Future.__del__ = gone  # type: ignore[attr-defined]  # it has none of its own

    def end() -> None:
        for name, ask in asked.items():
            setattr(Future, name, ask)
        del Future.__del__  # type: ignore[attr-defined]  # as above

    return end
