"""Errors that say that a process has run out of something."""

from __future__ import annotations

import errno
import os

import pytest

from taskmaster.runtime.exhaustion import RESERVED_BYTES, SPARE_DESCRIPTORS, Reserve, is_exhausted


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


def test_a_reserve_gives_back_what_it_holds() -> None:
    """Its descriptors at once, and addresses that never took any memory; twice does no harm."""
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    reserve = Reserve()
    behind = os.open(os.devnull, os.O_RDONLY)

    assert behind >= first + SPARE_DESCRIPTORS

    reserve.release()
    reserve.release()
    again = os.open(os.devnull, os.O_RDONLY)

    assert again == first
    assert RESERVED_BYTES >= 16 * 2**20

    os.close(again)
    os.close(behind)
