"""Pages that are fetched one step ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskmaster.postgres.ahead import ahead


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


def test_whoever_wants_no_more_ends_the_thread() -> None:
    """What it has open is closed there."""
    closed = threading.Event()

    def pages() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    found = ahead(pages())
    next(found)
    found.close()

    assert closed.wait(10)
