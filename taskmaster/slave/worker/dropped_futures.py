"""Work that a callback gives away, that fails, and at whose outcome nobody looks: calls for an
executor or a pool of ``multiprocessing`` (``pool.submit(save, row)``, with the future thrown away),
and processes of ``multiprocessing``.

Python says nothing of them. They belong to no job any more when they fail, so that the worker says
so, and ends with an error, as it does where a thread has raised. What was given away by a job that
has failed itself is done again with that job.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from taskmaster.runtime.put_back import put_back
from taskmaster.slave.worker.attempts import attempt_of, keep_attempt, within_attempt

__all__ = ["ProcessFailed", "tell_of_kept", "watch_futures"]

Say = Callable[[BaseException], None]

# A process that these end was ended on purpose: it has not failed.
_ENDED_ON_PURPOSE = (-signal.SIGTERM, -signal.SIGKILL)


class ProcessFailed(Exception):
    """A process of ``multiprocessing`` has not ended with 0."""


class _Kind(NamedTuple):
    """A class whose objects stand for work that was given away.

    Attributes:
        module: Where it is. Few callbacks use it, and loading it takes a worker milliseconds.
        name: What it is called there.
        asked: The attributes by which one asks how it went, or says that one does not want it any
            more.
        failure: Returns what an object's work has failed with, None if it has not.
    """

    module: str
    name: str
    asked: tuple[str, ...]
    failure: Callable[[Any], BaseException | None]


def _of_call(result: Any) -> BaseException | None:
    done = getattr(result, "_event", None) is not None and result._event.is_set()  # noqa: SLF001
    heard = not done or result._success or result._error_callback is not None  # noqa: SLF001
    return None if heard else result._value  # noqa: SLF001


def _of_calls(results: Any) -> BaseException | None:
    return next((value for success, value in getattr(results, "_items", ()) if not success), None)


def _of_process(process: Any) -> BaseException | None:
    code = getattr(getattr(process, "_popen", None), "returncode", None)
    if not code or code in _ENDED_ON_PURPOSE or process.daemon:
        return None
    return ProcessFailed(f"the process {process.name} ended with exit code {code}")


def _of_future(future: Any) -> BaseException | None:
    return getattr(future, "_exception", None)


_KINDS = (
    # Executor.map raises what one call has raised, and cancels the calls after that one.
    _Kind("concurrent.futures._base", "Future", ("result", "exception", "cancel"), _of_future),
    _Kind("multiprocessing.pool", "ApplyResult", ("get", "successful"), _of_call),
    _Kind("multiprocessing.pool", "IMapIterator", (), _of_calls),
    # An executor waits for its processes by their sentinel, and fails their calls when one dies.
    _Kind("multiprocessing.process", "BaseProcess", ("exitcode", "sentinel"), _of_process),
)
_THREADS = "concurrent.futures.thread"
_WATCHED = tuple(dict.fromkeys((*(kind.module for kind in _KINDS), _THREADS)))


def watch_futures(say: Say) -> Callable[[], None]:
    """Notice each of them that goes although it has failed and nobody has asked how it went.

    Args:
        say: Called with what it has failed with, by whichever thread throws it away, or where the
            job ends that has made it.

    Returns:
        What ends the watch.
    """
    owner = os.getpid()

    def say_here(exc: BaseException) -> None:
        if os.getpid() == owner:  # a child has copies
            say(exc)

    awaited = _Awaited(say_here)
    for module in _WATCHED:
        if module in sys.modules:
            awaited.loaded(sys.modules[module])
    sys.meta_path.insert(0, awaited)
    return awaited.end


def tell_of_kept() -> None:
    """Say the same of those that have not gone, because somebody has kept them."""
    loaded = [(getattr(sys.modules[kind.module], kind.name), kind) for kind in _KINDS if kind.module in sys.modules]
    watched = tuple(one for one, _ in loaded if "__del__" in vars(one))
    for one in gc.get_objects() if watched else ():
        if issubclass(type(one), watched):
            base = next(kind for kind in watched if issubclass(type(one), kind))
            base.__del__(one)  # that of a class of the user's is called with the finalizers
            one._is_asked_for = True  # it goes later  # noqa: SLF001


class _Awaited:
    """A finder for ``sys.meta_path`` that notices when one of the modules is loaded."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._undo: list[Callable[[], None]] = []

    def loaded(self, module: ModuleType) -> None:
        """Watch what a module has."""
        if module.__name__ == _THREADS:
            self._undo.append(_keep_attempts(module))
        for kind in _KINDS:
            if kind.module == module.__name__:
                self._undo.append(_watch(getattr(module, kind.name), kind, self._say))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find a module, and watch what it has as soon as it is loaded."""
        if name not in _WATCHED:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_watch(module: ModuleType) -> None:
                load(module)
                self.loaded(module)

            spec.loader.exec_module = load_and_watch  # type: ignore[method-assign]  # of this spec's loader only
        return spec

    def end(self) -> None:
        """Watch no more, and wait for no module any longer."""
        sys.meta_path.remove(self)
        for undo in self._undo:
            undo()


def _keep_attempts(module: Any) -> Callable[[], None]:
    """Have what a call in a pool's thread gives away belong to the attempt that has given the call
    away: the thread may have been started by another one. Return what takes it back.
    """
    item = getattr(module, "_WorkItem", None)
    run = getattr(item, "run", None)
    if item is None or run is None:  # another Python's, or somebody's own
        return lambda: None

    @functools.wraps(run)
    def run_in_attempt(self: Any, *args: Any) -> None:
        attempt, given = attempt_of(self.future), [self]
        del self  # else a call that fails would be kept by its own traceback
        with within_attempt(attempt):
            run(given.pop(), *args)

    item.run = run_in_attempt

    def end() -> None:
        put_back(item, "run", run_in_attempt, run)

    return end


def _watch(watched: Any, kind: _Kind, say: Say) -> Callable[[], None]:
    """Give a class what :func:`watch_futures` needs, and return what takes it back."""
    asked = {name: vars(watched)[name] for name in kind.asked}
    make = watched.__init__

    @functools.wraps(make)
    def made(self: Any, *args: Any, **named: Any) -> None:
        keep_attempt(self)
        make(self, *args, **named)

    def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, *args: Any, **named: Any) -> Any:
            self._is_asked_for = True
            return ask(self, *args, **named)

        return noted

    def gone(self: Any) -> None:
        exc = kind.failure(self)
        if exc is None or getattr(self, "_is_asked_for", False):
            return
        if (attempt := attempt_of(self)) is None:
            say(exc)
        else:
            attempt.say(functools.partial(say, exc))

    ours: dict[str, Any] = {"__init__": made, "__del__": gone}
    for name, ask in asked.items():
        getter = ask.fget if isinstance(ask, property) else None
        ours[name] = noting(ask) if getter is None else property(noting(getter))
    for name, one in ours.items():
        setattr(watched, name, one)

    def end() -> None:
        for name, former in (asked | {"__init__": make, "__del__": None}).items():
            put_back(watched, name, ours[name], former)

    return end
