"""How a child has ended, where the system tells it to somebody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taskmaster.runtime.child_process import Forked
from taskmaster.runtime.exit_word import ExitWord, say_exit


@contextmanager
def ends_of_children_ignored() -> Iterator[None]:
    """As a program does that does not want to wait for its children."""
    former = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, former)


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_child_says_its_exit_code_where_nobody_can_be_told_of_it(code: int) -> None:
    """A child that has failed would seem to have ended well."""
    with ends_of_children_ignored():
        child = Forked(lambda: code)

        assert child.wait(30.0) == code
        assert child.poll() == code


def test_a_child_that_says_nothing_was_killed() -> None:
    """It had no time for a word."""
    with ends_of_children_ignored():
        child = Forked(lambda: signal.pause() or 0)
        child.kill()

        assert child.wait(30.0) == -signal.SIGKILL


def test_a_word_does_not_wait_for_who_else_has_the_pipe() -> None:
    """Workers and what callbacks start may have inherited it."""
    word = ExitWord()
    kept = os.dup(word.child_end)
    try:
        word.begun()

        assert word.code() == -signal.SIGKILL
    finally:
        os.close(kept)


def test_a_word_that_nobody_waits_for_is_no_error() -> None:
    """The master has been killed."""
    word = ExitWord()
    word.close()
    word.close()
    former = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        say_exit(word.child_end, 1)
    finally:
        signal.signal(signal.SIGPIPE, former)
        word.begun()
