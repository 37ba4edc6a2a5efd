"""Calls that a callback gives to an executor, that fail, and whose outcome nobody asks for:
``pool.submit(save, row)``, with the future thrown away.

Python says nothing of them. They belong to no job any more when they fail, so that the worker says
so at once, and ends with an error, as it does where a thread has raised.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["watch_futures"]

# Where futures are. Few callbacks use them, and loading it takes a worker milliseconds.
MODULE = "concurrent.futures._base"


def watch_futures(say: Callable[[BaseException], None]) -> Callable[[], None]:
    """Notice each future that goes although it has failed and nobody has asked how it went.

    Args:
        say: Called with what it has failed with, by whichever thread throws it away.

    Returns:
        What ends the watch.
    """
    if MODULE in sys.modules:
        return _watch(sys.modules[MODULE].Future, say)
    awaited = _Awaited(lambda module: _watch(module.Future, say))
    sys.meta_path.insert(0, awaited)
    return awaited.end


class _Awaited:
    """A finder for ``sys.meta_path`` that notices when the module of the futures is loaded."""

    def __init__(self, loaded: Callable[[ModuleType], Callable[[], None]]) -> None:
        self._loaded = loaded
        self._undo: Callable[[], None] | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find the module, and watch its futures as soon as it is loaded."""
        if name != MODULE:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_watch(module: ModuleType) -> None:
                load(module)
                self._undo = self._loaded(module)

            spec.loader.exec_module = load_and_watch  # type: ignore[method-assign]  # of this spec's loader only
        return spec

    def end(self) -> None:
        """Watch no more, and wait for the module no longer."""
        sys.meta_path.remove(self)
        if self._undo is not None:
            self._undo()


def _watch(future: Any, say: Callable[[BaseException], None]) -> Callable[[], None]:
    """Give the class of futures what :func:`watch_futures` needs, and return what takes it back."""
    asked = {name: getattr(future, name) for name in ("result", "exception")}

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
        setattr(future, name, noting(ask))
    future.__del__ = gone

    def end() -> None:
        for name, ask in asked.items():
            setattr(future, name, ask)
        del future.__del__

    return end
