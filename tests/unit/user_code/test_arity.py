"""Functions that take other arguments than they will be given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.errors import TargetError
from taskmaster.user_code.arity import check_call, check_callbacks, name_in_script, takes_lists


def two(job: Any, other: Any) -> None:
    """Take two arguments."""


@functools.wraps(two)
def wrapped(job: Any) -> None:
    """Give the second argument by itself."""


class Called:
    def __call__(self, job: Any) -> None:
        pass

    def method(self, job: Any) -> None:
        pass


FINE: dict[str, Callable[..., Any]] = {
    "one": lambda job: None,
    "a default": lambda job, other=1: None,
    "anything": lambda *args, **kwargs: None,
    "a decorator that adds an argument": wrapped,
    "an object": Called(),
    "a method": Called().method,
    "a partial": functools.partial(two, other=2),
    "a builtin": print,
    "without a signature": dict.fromkeys,
}
WRONG: dict[str, Callable[..., Any]] = {
    "none": lambda: None,
    "two": two,
    "a keyword": lambda job, *, other: None,
    "a method of the class": Called.method,
    "a partial": functools.partial(two, 1, 2),
}


@pytest.mark.parametrize("kind", FINE)
def test_what_can_be_called_is_not_refused(kind: str) -> None:
    """Nor what cannot be known."""
    check_call(FINE[kind], "handle_job", "a job")


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_called_is_refused(kind: str) -> None:
    """With its parameters."""
    with pytest.raises(TargetError, match="handle_job is called with a job alone, but its parameters are"):
        check_call(WRONG[kind], "handle_job", "a job")


@pytest.mark.parametrize("name", ["setup", "teardown"])
def test_what_surrounds_the_jobs_takes_nothing(name: str) -> None:
    """A setup that wants an argument would fail in each worker, again and again."""
    with pytest.raises(TargetError, match=f"{name} is called without arguments"):
        check_callbacks(print, **{name: lambda worker: None})
    check_callbacks(print, **{name: lambda worker=None: None})


@pytest.mark.parametrize(("callback", "cure"), [(Called, r"an object of it, Called\(\.\.\.\)"), (str, "a function")])
def test_a_class_is_no_callback(callback: type, cure: str) -> None:
    """Each job would make an object that nobody looks at, and all would be done."""
    with pytest.raises(TargetError, match=f"{callback.__name__} is a class.*Give {cure}"):
        check_callbacks(callback)


def handle_jobs(jobs: list[Any]) -> None:
    """Have the name itself."""


WITH_ANOTHER_NAME: dict[str, Callable[..., Any]] = {
    "a lambda": lambda jobs: None,
    "a builtin": print,
    "an object": Called(),
    "a partial": functools.partial(two, other=2),
}


@pytest.mark.parametrize("kind", WITH_ANOTHER_NAME)
def test_what_a_module_calls_so_gets_lists(kind: str) -> None:
    """Whatever its own name is."""
    assert takes_lists(WITH_ANOTHER_NAME[kind], "handle_jobs")
    assert not takes_lists(WITH_ANOTHER_NAME[kind], "handle_job")


@pytest.mark.parametrize("handle", [handle_jobs, functools.partial(handle_jobs), functools.partial(handle_jobs, [])])
def test_what_has_the_name_itself_gets_lists(handle: Callable[..., Any]) -> None:
    """Also as a partial, and where the module has another name for it."""
    assert takes_lists(handle)
    assert takes_lists(handle, "handle_job")


def test_a_script_calls_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the name of a value, which a function that it came from does not know."""
    made = WITH_ANOTHER_NAME["a lambda"]
    assert name_in_script(made) == ""
    monkeypatch.setattr("__main__.handle_jobs", made, raising=False)
    assert name_in_script(made) == "handle_jobs"
    assert name_in_script(print) == ""
