"""What a script's callback and jobs are called in the identity of its run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskmaster.master.reading.source import Source
from taskmaster.runner.function_names import described, name_of_function


class Exporter:
    """A callback that knows of which table it is."""

    def __init__(self, table: Any, **more: Any) -> None:
        self.table = table
        self.seen = object()
        self.count = id(self)
        self._hidden = str(id(self))
        self.__dict__.update(more)

    def handle(self, job: Any) -> None:
        """Do nothing."""

    def __call__(self, job: Any) -> None:
        """Do nothing."""

    def iterate(self, last: Any) -> Iterator[Any]:
        """Yield nothing."""
        return iter(())


def one(job: Any) -> None:
    """Stand for a callback."""


def another(job: Any) -> None:
    """Stand for another one."""


def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate without ``functools.wraps``."""

    def wrapper(job: Any) -> Any:
        return function(job)

    return wrapper


def of_table(table: str) -> Callable[[Any], Any]:
    count = id(table)

    def handle(job: Any) -> Any:
        return table, count, job

    return handle


def rows(table: str, first: int = 0) -> Iterator[Any]:
    yield table, first


CALLBACKS: dict[str, Callable[[Any], Any]] = {
    "a method": lambda text: Exporter(text).handle,
    "an object": Exporter,
    "a method of an object with a path": lambda text: Exporter(Path(text)).handle,
    "a function in another": of_table,
    "a decorated function in another": lambda text: decorated(of_table(text)),
    "a partial": lambda text: functools.partial(print, text),
    "a partial of a method": lambda text: functools.partial(Exporter(text).handle),
}


@pytest.mark.parametrize("kind", CALLBACKS)
def test_callbacks_that_hold_other_texts_have_other_names(kind: str) -> None:
    """And the same one in each session."""
    make = CALLBACKS[kind]

    assert name_of_function(make("users")) == name_of_function(make("users"))
    assert name_of_function(make("users")) != name_of_function(make("posts"))
    assert "users" in name_of_function(make("users"))


def test_functions_behind_one_decorator_have_names_of_their_own() -> None:
    """Also behind two of them."""
    names = {name_of_function(function) for function in (decorated(one), decorated(another), decorated(decorated(one)))}

    assert len(names) == 3


def test_a_plain_function_and_a_method_without_texts_keep_their_names() -> None:
    """States are found by them."""
    assert name_of_function(one) == f"{__name__}.one"
    assert name_of_function(Exporter(1).handle) == f"{__name__}.Exporter.handle"
    assert name_of_function(len) == "builtins.len"


def test_long_texts_are_cut_and_still_differ_and_passwords_are_left_out() -> None:
    """A state is no place for either."""
    long = [name_of_function(Exporter("x" * 1000 + end).handle) for end in "ab"]
    secret = name_of_function(Exporter("postgresql://u:geheim@h/d", password="geheim").handle)

    assert long[0] != long[1]
    assert max(map(len, long)) < 300
    assert "geheim" not in secret


def test_functions_that_hold_each_other_have_an_end() -> None:
    """A recursive function is in its own cell."""

    def down(job: int) -> int:
        return up(job)

    def up(job: int) -> int:
        return down(job)

    assert "down" in name_of_function(down)


@pytest.mark.parametrize(
    "make",
    [rows, lambda table: functools.partial(rows, table), Exporter, lambda table: rows("t", len(table) + ord(table[0]))],
)
def test_sources_of_other_tables_have_other_names(make: Callable[[str], Any]) -> None:
    """A generator by what it was called with, an object by what it holds."""
    users, again, posts = (described(jobs, Source(jobs)) for jobs in (make("users"), make("users"), make("posts")))

    assert users == again
    assert users != posts


def test_a_generator_that_has_begun_is_known_by_its_name() -> None:
    """Its variables say where it is by now."""
    begun = rows("users")
    next(begun)

    assert described(begun, None) == "generator rows"
