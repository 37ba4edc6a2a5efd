"""An event loop for the coroutines of a run in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from taskmaster.runtime.invocation import is_command

if TYPE_CHECKING:  # asyncio takes as long to load as all of the master
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Loop"]


class Loop:
    """The loop in which coroutines are awaited: one for all jobs, as connections belong to a loop.

    Where a loop runs in this thread already, as in a notebook, it is one of another thread. A loop
    of the script's, in which a plain callback begins its tasks, is left as it was.

    Attributes:
        problems: A sentence for each task that has raised and was not awaited.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._runner: asyncio.Runner | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._before: set[asyncio.Task[Any]] = set()
        self._scripts: list[Any] = []  # the loop, if it is the script's, and what it did about errors

    def awaited(self, result: Any) -> Any:
        """Wait for what a coroutine function gave; give anything else back."""
        if not isinstance(result, Awaitable):
            return result

        import asyncio

        async def wait() -> Any:
            return await result

        if self._runner is None:
            from taskmaster.slave.worker.event_loop import LeftBehind, made_runner

            left_behind = LeftBehind()
            self.problems = left_behind.problems
            self._runner = made_runner(result)
            loop = self._runner.get_loop()
            if not is_command() and asyncio.isfuture(result) and result.get_loop() is loop:
                self._scripts = [loop, loop.get_exception_handler()]
            loop.set_exception_handler(left_behind.note)
            try:
                asyncio.get_running_loop()
                from concurrent.futures import ThreadPoolExecutor

                self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskmaster-await")
            except RuntimeError:
                pass
        return self._run(self._runner, wait())

    def _run(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._thread is not None:
            return self._thread.submit(runner.run, coroutine).result()
        return runner.run(coroutine)

    def begin_jobs(self) -> None:
        """Take note of the tasks that ``setup`` has begun: only those of jobs are waited for."""
        if self._runner is not None:
            import asyncio

            self._before = asyncio.all_tasks(self._runner.get_loop())

    def close(self, seconds: float) -> list[str]:
        """Wait for tasks that jobs have left running, then end the loop.

        Args:
            seconds: How long to wait; what runs for longer is cancelled.

        Returns:
            A sentence for each task that was cancelled, or has raised.
        """
        if (runner := self._runner) is None:
            return []
        from taskmaster.slave.worker.event_loop import wait_for_left

        self._runner = None
        left: list[str] = self._run(runner, wait_for_left(self._before, seconds))
        if self._scripts:
            loop, handler = self._scripts
            loop.set_exception_handler(handler)
        elif self._thread is not None:
            self._thread.submit(runner.close).result()
        else:
            runner.close()
        if self._thread is not None:
            self._thread.shutdown()
        return self.problems + [f"the task {name} was still running at the end, and was cancelled" for name in left]
