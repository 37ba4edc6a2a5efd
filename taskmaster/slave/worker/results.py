"""What a call of the user's code returns: work that is still to be waited for, or that nobody has
begun.

A callback that returns a coroutine or a generator has done nothing yet; to count its job as done
would lose the job in silence. A type that says nothing of the kind is looked at once.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Self

from taskmaster.outcomes import Skip
from taskmaster.records import record
from taskmaster.slave.ipc.scoreboard import Scoreboard
from taskmaster.slave.worker.message_sender import MessageSender

__all__ = ["Calls", "NothingRan", "ProgramFailed", "Results"]

EXAMINED_LEVELS = 3  # how deep containers in containers are examined
_CONTAINERS: tuple[type, ...] = (list, tuple, set, frozenset, collections.deque, type({}.values()), type({}.items()))
_LOOKED_AT = (dict, type, subprocess.CompletedProcess)  # of which each is looked at
_LAZY_NAMES: dict[type, str] = {
    map: "a map object",
    filter: "a filter object",
    zip: "a zip object",
    enumerate: "an enumerate object",
}
_MANAGERS = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)  # noqa: SLF001


class NothingRan(Exception):
    """A call of the user's code has only made something that would have to be run."""


class ProgramFailed(Exception):
    """A program, or a process, that the callback has returned has not ended with 0."""


class Results:
    """Looks at what the calls of one function return.

    Args:
        name: what messages call the function.
        run: awaits something to its end, from the thread that calls it.

    Attributes:
        plain: the types that need no look; a caller may compare with it to save the call.
    """

    def __init__(self, name: str, run: Callable[[Awaitable[Any]], Any]) -> None:
        self._name = name
        self._run = run
        self.plain: set[type] = {type(None), int, float, str, bytes}

    def finish(self, result: Any) -> None:
        """Wait for what the call has begun.

        Raises:
            NothingRan: the call has begun nothing.
            BaseException: what the work that was waited for has raised.
        """
        with _Outcomes() as outcomes:
            for one in self._unfinished(result):
                with outcomes.of_one():
                    if _is_outcome(one):
                        raise one
                    self.finish(self._run(one) if inspect.isawaitable(one) else _waited_for(one))

    async def finish_async(self, result: Any) -> None:
        """Do as ``finish``, in the event loop."""
        import asyncio

        with _Outcomes() as outcomes:
            for one in self._unfinished(result):
                with outcomes.of_one():
                    if _is_outcome(one):
                        raise one
                    if inspect.isawaitable(one):
                        await self.finish_async(await one)
                    elif _is_future(one):
                        await self.finish_async(await asyncio.wrap_future(one))
                    else:
                        await self.finish_async(await asyncio.to_thread(_waited_for, one))

    def _noted(self, result: bool, inside: str) -> bool:  # it is what the call has returned
        """Say, once, that False says nothing; return True, for it is no work that goes on."""
        if not result and not inside:
            self.plain.add(bool)
            sys.stderr.write(
                f"taskmaster: {self._name} has returned False. That says nothing: what it was called for counts as "
                "done. Let it raise an exception where that has failed.\n"
            )
        return True

    def _unfinished(self, result: Any, *, inside: str = "", depth: int = EXAMINED_LEVELS) -> list[Any]:
        """Return outcomes, and what is to be waited for: awaitables, futures, results of a pool."""
        kind = type(result)
        if kind in self.plain or (kind is bool and self._noted(result, inside)):
            return []
        if depth and (isinstance(result, _CONTAINERS) or kind is dict):
            among = list(result.values()) if kind is dict else result
            if set(map(type, among)) <= self.plain or not among:
                return []
            where = f" in a {kind.__name__}{inside}"
            return [found for one in among for found in self._unfinished(one, inside=where, depth=depth - 1)]
        if isinstance(result, subprocess.CompletedProcess) and result.returncode:
            raise ProgramFailed(f"The program {result.args!r} has ended with exit code {result.returncode}.")
        if _is_outcome(result) or inspect.isawaitable(result) or _is_future(result) or _can_be_waited_for(result):
            return [result]
        if (programs := sys.modules.get("asyncio.subprocess")) and isinstance(result, programs.Process):
            return [_EndOfProgram(result)]
        if result is NotImplemented:
            raise NothingRan(f"{self._name} returned NotImplemented{inside}: raise NotImplementedError instead.")
        if lazy := _lazy(result):
            what, cure = lazy
            raise NothingRan(f"{self._name} returned {what}{inside}, so that nothing of it was run. {cure}")
        if not (isinstance(result, _CONTAINERS) or kind in _LOOKED_AT):
            self.plain.add(kind)
        return []


class _Outcomes:
    """What has come of several things that one call has returned: one that was left out (``Skip``)
    must not keep the others from being looked at, of which one may have failed.
    """

    def __init__(self) -> None:
        self._skipped: Skip | None = None

    def __enter__(self) -> Self:
        return self

    @contextlib.contextmanager
    def of_one(self) -> Iterator[None]:
        """Look at one of them; what it raises is passed through, but for ``Skip``."""
        try:
            yield
        except Skip as exc:
            self._skipped = self._skipped or exc

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._skipped is not None:
            raise self._skipped


@record()
class Calls:
    """The calls of one worker's callback, and where their outcome goes.

    Attributes:
        handle: the callback.
        results: checks the values that the callback returns.
        scoreboard: the shared memory for the positions.
        sender: says how a job and a batch have ended.
    """

    handle: Callable[[Any], Any]
    results: Results
    scoreboard: Scoreboard
    sender: MessageSender


def _is_outcome(result: Any) -> bool:
    """Tell whether it is an exception, as ``asyncio.gather(return_exceptions=True)`` gives them, or
    a class of these.
    """
    return isinstance(result, BaseException) or (type(result) is type and issubclass(result, BaseException))


def _is_future(result: Any) -> bool:
    """Tell whether it is a future of an executor, without loading what only some callbacks use."""
    futures = sys.modules.get("concurrent.futures")
    return futures is not None and isinstance(result, futures.Future)


def _can_be_waited_for(result: Any) -> bool:
    """Tell whether it stands for work that goes on: what a pool returns, a program, a process, a
    thread.
    """
    pools, processes = sys.modules.get("multiprocessing.pool"), sys.modules.get("multiprocessing.process")
    return (
        isinstance(result, (subprocess.Popen, threading.Thread))
        or (pools is not None and isinstance(result, pools.ApplyResult))
        or (processes is not None and isinstance(result, processes.BaseProcess))
        or (inspect.isgenerator(result) and result.__qualname__ == "Executor.map.<locals>.result_iterator")
    )


def _waited_for(work: Any) -> Any:
    """Wait for work that goes on, and return what came of it.

    Raises:
        NothingRan: It was not begun.
        ProgramFailed: It is a program or a process that has not ended with 0.
    """
    if _is_future(work):
        return work.result()
    if isinstance(work, subprocess.Popen):
        code: int | None = _end_of(work)
        what = f"The program {work.args!r}"
    elif inspect.isgenerator(work):
        return list(work)
    elif hasattr(work, "get"):
        return work.get()
    else:
        if work.ident is None:
            what = "thread" if isinstance(work, threading.Thread) else "process"
            raise NothingRan(f"The callback returned a {what} that was not started: call its start().")
        work.join()
        code = getattr(work, "exitcode", 0)
        what = f"The process {work.name}"
    if code:
        raise ProgramFailed(f"{what} has ended with exit code {code}.")
    return None


def _end_of(program: subprocess.Popen[Any]) -> int | None:
    """Wait for a program, and return its exit code. One that reads from a pipe waits for its end,
    and one that writes into a pipe waits for somebody who reads that.
    """
    for name in ("stdin", "stdout", "stderr"):
        if (pipe := getattr(program, name, None)) is not None and pipe.closed:
            setattr(program, name, None)  # communicate() takes it for open
    program.communicate()
    return program.returncode


class _EndOfProgram:
    """The end of a program that asyncio has started, to be awaited in its event loop.

    Args:
        program: An ``asyncio.subprocess.Process``.
    """

    def __init__(self, program: Any) -> None:
        self._program = program

    def __await__(self) -> Generator[Any, Any, None]:
        # Without input, its standard input would stay open.
        nothing = None if self._program.stdin is None else b""
        yield from self._program.communicate(nothing).__await__()
        if code := self._program.returncode:
            raise ProgramFailed(f"The program {self._program.pid} has ended with exit code {code}.")


def _lazy(result: Any) -> tuple[str, str] | None:
    """Return what a value is that does nothing until somebody asks for it, and what to do."""
    kind = type(result)
    if inspect.isgenerator(result):
        return "a generator", "A function with a yield in it only makes one: take the yield out."
    if inspect.isasyncgen(result):
        return "an async generator", "A function with a yield in it only makes one: take the yield out."
    if isinstance(result, _MANAGERS):
        return "a context manager", "Enter it in the function: `with ...:`."
    if kind in _LAZY_NAMES or kind.__module__ == "itertools":
        name = _LAZY_NAMES.get(kind, f"itertools.{kind.__name__}")
        return name, "It calls nothing until it is iterated: write a loop, or return list(...)."
    if inspect.isroutine(result) or isinstance(result, functools.partial):
        name = getattr(result, "__qualname__", kind.__name__)
        return f"the function {name}", "Call it, or put the parentheses behind the decorator that wants them."
    return None
