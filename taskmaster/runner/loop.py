"""An event loop for the coroutines of a run in this process."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # asyncio takes as long to load as all of the master
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Loop"]


class Loop:
    """The loop in which coroutines are awaited: one for all jobs, as connections belong to a loop.

    Where a loop runs in this thread already, as in a notebook, it is one of another thread.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._thread: ThreadPoolExecutor | None = None

    def awaited(self, result: Any) -> Any:
        """Wait for what a coroutine function gave; give anything else back."""
        if not isinstance(result, Awaitable):
            return result

        import asyncio

        async def wait() -> Any:
            return await result

        if self._runner is None:
            self._runner = asyncio.Runner()
            try:
                asyncio.get_running_loop()
                from concurrent.futures import ThreadPoolExecutor

                self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskmaster-await")
            except RuntimeError:
                pass
        if self._thread is not None:
            return self._thread.submit(self._runner.run, wait()).result()
        return self._runner.run(wait())

    def close(self) -> None:
        """End the loop."""
        if self._runner is None:
            return
        if self._thread is not None:
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()
        else:
            self._runner.close()
