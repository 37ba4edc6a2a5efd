"""The one event loop of a worker: whatever is awaited there is awaited in it.

A pool of connections that an ``async def setup()`` opens belongs to the loop in which it was
opened. So ``setup``, the jobs and ``teardown`` share one loop, however the jobs are run. It goes on
when a task or a call in it raises ``KeyboardInterrupt`` or ``SystemExit``, which end other loops:
the exception goes to the job that awaits the task.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a worker that awaits nothing does not load it
    import asyncio

__all__ = ["EventLoop", "LeftBehind", "made_runner", "wait_for_left"]

LATER_SECONDS = 5.0  # the end waits for calls that are due within this time; later ones may follow each other for ever


class LeftBehind:
    """What a loop's tasks have raised and nothing has awaited.

    Attributes:
        problems: A sentence for each.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note one of them, beside what asyncio says of it: a loop's exception handler."""
        loop.default_exception_handler(context)
        exc, future, handle = context.get("exception"), context.get("future"), context.get("handle")
        if exc is not None and (future is not None or _is_users_call(handle)):
            coroutine = getattr(future, "get_coro", lambda: None)()
            name = getattr(coroutine, "__qualname__", "a future" if handle is None else "a call that the loop has made")
            self.add(name, exc)

    def add(self, name: str, exc: BaseException) -> None:
        """Note what was raised, once."""
        sentence = f"{name} raised {type(exc).__qualname__}, and nothing awaited it"
        self.problems += [] if sentence in self.problems else [sentence]


class EventLoop:
    """An event loop that runs in the thread that made it, or in one of its own for other threads.

    The loop is made when something is awaited for the first time.
    """

    def __init__(self) -> None:
        self._left_behind = LeftBehind()
        self.jobs_over = False
        self._runner: asyncio.Runner | None = None
        self._owner = threading.get_ident()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._before: set[asyncio.Task[Any]] = set()

    @property
    def problems(self) -> list[str]:
        """A sentence for each task that has raised and that nobody has waited for."""
        return self._left_behind.problems

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Await something to its end, from any thread.

        Raises:
            BaseException: what the awaitable raised.
        """
        runner = self._made(awaitable)
        if threading.get_ident() == self._owner:
            return self._complete(runner, _wait_for(awaitable))
        import asyncio

        self._run_in_thread(runner.get_loop())
        return asyncio.run_coroutine_threadsafe(_wait_for(awaitable), runner.get_loop()).result()

    def begin_jobs(self) -> None:
        """Take note of the tasks that ``setup`` has begun: only those of jobs are waited for."""
        if self._runner is not None:
            import asyncio

            self._before = asyncio.all_tasks(self._runner.get_loop())

    def end_jobs(self) -> None:
        """Have the loop back in the thread that made it, for ``teardown``."""
        self.jobs_over = True
        if self._thread is not None and self._runner is not None:
            loop = self._runner.get_loop()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            self._thread = None

    def leave(self, leave: Any) -> None:
        """In a forked child: call ``leave`` as soon as the loop goes on."""
        if self._runner is not None:
            self._runner.get_loop().call_soon(leave)

    def close(self, seconds: float) -> list[str]:
        """Wait for tasks that jobs have left running, then close the loop.

        Args:
            seconds: how long to wait; what runs for longer is cancelled.

        Returns:
            The names of the tasks that were cancelled although they were the user's.
        """
        if self._runner is None:
            return []
        names: list[str] = self._complete(self._runner, wait_for_left(self._before, seconds))
        self._runner.close()
        return names

    def _complete(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in this thread."""
        import asyncio

        tasks: list[asyncio.Task[Any] | None] = []

        async def main() -> Any:
            tasks.append(asyncio.current_task())
            return await coroutine

        run: Callable[[], Any] = functools.partial(runner.run, main())
        while True:
            try:
                return run()
            except (KeyboardInterrupt, SystemExit) as exc:
                task = tasks[0] if tasks else None
                if task is None or task.done() or os.getpid() != self._pid:
                    raise
                self._interrupted(runner.get_loop(), exc)
                run = functools.partial(runner.get_loop().run_until_complete, task)

    def _run_shared(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop in its own thread until it is stopped."""
        while True:
            try:
                return loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as exc:
                if os.getpid() != self._pid:
                    raise
                self._interrupted(loop, exc)

    def _interrupted(self, loop: asyncio.AbstractEventLoop, exc: BaseException) -> None:
        """Note what would have ended the loop. A task has it, and says it when nobody awaits it; of
        a call, nothing else tells.
        """
        at = exc.__traceback__
        while at is not None and _is_loops(at.tb_frame.f_globals.get("__name__")):
            at = at.tb_next
        exc.__traceback__ = at  # what the job that awaits it shows begins in the user's code
        if at is None or not at.tb_frame.f_code.co_flags & inspect.CO_COROUTINE:
            loop.default_exception_handler({"message": "Exception in callback", "exception": exc})
            self._left_behind.add("a call that the loop has made", exc)

    def _made(self, awaitable: Awaitable[Any]) -> asyncio.Runner:
        with self._lock:
            if self._runner is None:
                self._runner = made_runner(awaitable)
                self._runner.get_loop().set_exception_handler(self._left_behind.note)
            return self._runner

    def _run_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self._thread is None:
                # No daemon: the threads that are started in it would be daemons, too.
                self._thread = threading.Thread(target=self._run_shared, args=(loop,), name="taskmaster-loop")
                self._thread.start()


def made_runner(awaitable: Awaitable[Any]) -> asyncio.Runner:
    """Return a runner for the first that is awaited, in the thread that has called it.

    A plain function that calls ``asyncio.ensure_future()`` has Python make a loop for this thread,
    up to 3.13, and what it gives can be awaited in that loop alone: then it is the one.
    """
    import asyncio

    if asyncio.isfuture(awaitable) and not (loop := awaitable.get_loop()).is_running() and not loop.is_closed():
        return asyncio.Runner(loop_factory=lambda: loop)
    return asyncio.Runner()


def _is_loops(module: Any) -> bool:
    return module == __name__ or str(module).partition(".")[0] == "asyncio"


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def wait_for_left(before: set[asyncio.Task[Any]], seconds: float) -> list[str]:
    """Wait, in its loop, for tasks of the user's code that nobody awaits.

    Args:
        before: Those that are not waited for.
        seconds: How long to wait.

    Returns:
        The names of those that still run.
    """
    import asyncio

    deadline = time.monotonic() + seconds
    until = min(deadline, time.monotonic() + LATER_SECONDS)
    await _until_made(_later_calls(asyncio.get_running_loop()), until)
    while left := [task for task in asyncio.all_tasks() - before if _is_users(task)]:
        if time.monotonic() >= deadline:
            break
        await asyncio.wait(left, timeout=max(0.0, deadline - time.monotonic()))
    _tell_of_kept(asyncio.get_running_loop())
    return sorted(_called(task) for task in left)


def _tell_of_kept(loop: asyncio.AbstractEventLoop) -> None:
    """Say what tasks have raised that somebody has kept: asyncio says it of one that goes."""
    import asyncio

    for one in gc.get_objects():
        if issubclass(type(one), asyncio.Future):
            with contextlib.suppress(Exception):  # one of the user's own kind, or half made
                if one.get_loop() is loop and one.done() and one._log_traceback:  # noqa: SLF001
                    one.__del__()


async def _until_made(handles: list[asyncio.TimerHandle], deadline: float) -> None:
    """Wait until calls have been made that were asked for by ``call_later``."""
    import asyncio

    loop = asyncio.get_running_loop()
    for handle in sorted(handles, key=asyncio.TimerHandle.when):
        seconds = handle.when() - loop.time()
        if seconds > deadline - time.monotonic():
            return
        await asyncio.sleep(max(0.0, seconds))


def _later_calls(loop: Any) -> list[asyncio.TimerHandle]:
    """Return the calls of the user's code that are to be made later; none of a loop in C."""
    return [one for one in getattr(loop, "_scheduled", ()) if not one.cancelled() and _is_users_call(one)]


def _is_users_call(handle: Any) -> bool:
    """Tell whether a handle calls the user's code."""
    from taskmaster.slave.worker.unawaited import is_users_code

    called = getattr(handle, "_callback", None)
    return is_users_code(getattr(getattr(called, "__func__", called), "__code__", None))


def _is_users(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task runs the user's code, or was made to run a function in a thread: one of a
    library is cancelled at the end, as ``asyncio.run`` does.
    """
    import asyncio

    from taskmaster.slave.worker.unawaited import is_users_code

    code = getattr(task.get_coro(), "cr_code", None)
    return is_users_code(code) or code is asyncio.to_thread.__code__


def _called(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))
