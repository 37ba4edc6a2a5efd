"""Pages that are fetched one step ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskmaster.postgres import prefetch
from taskmaster.postgres.prefetch import ahead


def test_the_pages_are_the_same() -> None:
    """In their order, and no more of them; no page is an empty one too many."""
    assert list(ahead(iter([[1], [], [2, 3]]))) == [[1], [], [2, 3]]
    assert list(ahead(iter([]))) == []


def test_what_is_raised_comes_after_the_pages() -> None:
    """As it would without a thread."""

    def pages() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    found = ahead(pages())

    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_whoever_wants_no_more_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, where that waits for room; what it has open is closed there, and nowhere else."""
    monkeypatch.setattr(prefetch, "CLOSE_CHECK_SECONDS", 30.0)
    closed = []

    def pages() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    found = ahead(pages())
    next(found)
    found.close()

    assert closed == ["taskmaster-pages"]


def test_whoever_wants_no_more_does_not_wait_for_a_page() -> None:
    """A server that does not answer keeps nobody; when it does, the thread ends."""
    answers, closed = threading.Event(), threading.Event()

    def pages() -> Iterator[int]:
        try:
            yield 1
            answers.wait(30)
            yield 2
        finally:
            closed.set()

    found = ahead(pages())
    next(found)
    found.close()
    assert not closed.is_set()
    answers.set()

    assert closed.wait(30)
