"""Read-ahead: a thread fetches the next page while the master takes jobs of the last one.

Without it, the master's source thread would wait while the server reads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

__all__ = ["ahead"]

Page = TypeVar("Page")

CLOSE_CHECK_SECONDS = 0.5  # between two checks whether the reader has closed; longest wait for the thread's end


def ahead(pages: Iterator[Page]) -> Generator[Page]:
    """Yield the same pages, of which at most two are fetched in advance.

    A thread of its own fetches them. When this generator is closed, the thread ends after the page
    that it is fetching, and closes ``pages``; no other thread may close them while it is running.
    It is a daemon thread: a server that does not answer must not keep the process from ending.
    """
    ready: queue.Queue[tuple[Page | None, BaseException | None]] = queue.Queue(1)
    closed = threading.Event()

    def offer(page: Page | None, error: BaseException | None = None) -> None:
        while not closed.is_set():
            try:
                ready.put((page, error), timeout=CLOSE_CHECK_SECONDS)
                return
            except queue.Full:
                pass

    def fetch() -> None:
        try:
            for page in pages:
                offer(page)
                if closed.is_set():
                    return
            offer(None)
        except BaseException as exc:
            offer(None, exc)
        finally:
            close = getattr(pages, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=fetch, name="taskmaster-pages", daemon=True)
    thread.start()
    try:
        while True:
            page, error = ready.get()
            if error is not None:
                raise error
            if page is None:
                return
            yield page
    finally:
        closed.set()
        with suppress(queue.Empty):
            ready.get_nowait()  # the thread may be waiting for a free slot
        thread.join(CLOSE_CHECK_SECONDS)
