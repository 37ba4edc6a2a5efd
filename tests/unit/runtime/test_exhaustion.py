"""Errors that say that a process has run out of something."""

from __future__ import annotations

import errno

import pytest

from taskmaster.runtime.exhaustion import is_exhausted


class ArrayMemoryError(MemoryError):
    """As numpy's."""


def raised_from(cause: BaseException) -> BaseException:
    exc = ValueError("could not")
    exc.__cause__ = cause
    return exc


def raised_while(context: BaseException) -> BaseException:
    exc = KeyError("x")
    exc.__context__ = context
    return exc


@pytest.mark.parametrize(
    "exc",
    [
        MemoryError(),
        ArrayMemoryError("Unable to allocate 8.00 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("can't start new thread"),
        raised_from(MemoryError()),
        raised_while(raised_from(OSError(errno.EMFILE, "Too many open files"))),
    ],
)
def test_a_process_that_has_run_out_is_known(exc: BaseException) -> None:
    """By its class or number, wherever it is in the chain of causes."""
    assert is_exhausted(exc)


def looped() -> BaseException:
    exc = ValueError("round")
    exc.__context__ = KeyError("and")
    exc.__context__.__context__ = exc
    return exc


@pytest.mark.parametrize(
    "exc", [ValueError("MemoryError"), OSError(errno.ENFILE, "of the whole system"), RuntimeError(7), looped()]
)
def test_other_errors_are_not_taken_for_it(exc: BaseException) -> None:
    """What other processes suffer from as well is not cured by another process."""
    assert not is_exhausted(exc)
