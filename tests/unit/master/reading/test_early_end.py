"""A StopIteration that comes from a function, and not from what has ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmaster.master.reading.early_end import without_early_end
from taskmaster.master.reading.source import Source


def first_of_none(number: int) -> int:
    """What a function does that looks for a row which is not there."""
    return next(iter(())) if number == 2 else number


def numbers() -> Iterator[int]:
    return iter(range(4))


LAZY: dict[str, Callable[[], Iterator[Any]]] = {
    "map": lambda: map(first_of_none, numbers()),
    "filter": lambda: filter(lambda number: first_of_none(number) is not None, numbers()),
    "zip": lambda: zip(map(first_of_none, numbers()), numbers(), strict=False),
    "enumerate": lambda: enumerate(map(first_of_none, numbers())),
    "starmap": lambda: itertools.starmap(first_of_none, [(1,), (2,), (3,)]),
    "the last one": lambda: map(first_of_none, range(3)),
}


@pytest.mark.parametrize("kind", LAZY)
def test_a_function_that_raises_it_does_not_end_the_source(kind: str) -> None:
    """It would leave out the job, and all that come behind it."""
    with pytest.raises(RuntimeError, match=r"first_of_none|lambda") as raised:
        list(without_early_end(LAZY[kind]()))

    assert raised.traceback[-1].path == Path(__file__)  # that of the user's function


class Own:
    """An iterator of the user's own, which ends as all of them do."""

    def __init__(self) -> None:
        self._left = 3

    def __iter__(self) -> Own:
        return self

    def __next__(self) -> int:
        self._left -= 1
        if self._left < 0:
            self.end()
        return self._left

    def end(self) -> None:
        raise StopIteration


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param(lambda: map(str, numbers()), id="map"),
        pytest.param(lambda: map(str, Own()), id="an iterator of the user's own"),
        pytest.param(lambda: enumerate(number for number in numbers()), id="a generator"),
        pytest.param(lambda: itertools.islice(itertools.count(), 3), id="islice"),
        pytest.param(Own, id="not lazy"),
    ],
)
def test_what_ends_ends(jobs: Callable[[], Iterator[Any]]) -> None:
    """And nothing of it is left out."""
    assert list(without_early_end(jobs())) == list(jobs())


def test_a_source_is_looked_at() -> None:
    """Whether the user has given it or a function returns it."""
    for given in (LAZY["map"](), LAZY["map"]):
        with pytest.raises(RuntimeError, match="StopIteration"):
            list(Source(given).iterate())
