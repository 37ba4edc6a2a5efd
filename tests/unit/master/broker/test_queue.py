"""The queue gives jobs back in their order, whatever the source is doing meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmaster.master.broker.queue import BLOCK_JOBS, Queue


@given(st.lists(st.tuples(st.integers(0, 2 * BLOCK_JOBS), st.integers(0, 2 * BLOCK_JOBS)), max_size=12))
def test_jobs_come_out_in_their_order(steps: list[tuple[int, int]]) -> None:
    """However many go in and out at a time, against a plain list."""
    queue, model, number, chance = Queue(), list[int](), 0, random.Random(1)
    for added, taken in steps:
        queue.extend(range(number, number + added))
        model += range(number, number + added)
        number += added
        assert not added or queue.newest() == model[-1:]
        assert queue.take(taken) == model[:taken]
        del model[:taken]
        assert len(queue) == len(model)
        assert queue.head() == model[:1]
        assert bool(queue) == bool(model)
        assert set(queue.some(5, chance)) <= set(model)
        assert len(queue.some(5, chance)) <= 5
        assert queue.newest() in ([], model[-1:])


def test_a_job_can_be_taken_before_the_next_one_is_yielded() -> None:
    """Also where the iterator never comes to an end."""
    queue = Queue()
    seen = []

    def jobs() -> Iterator[int]:
        for number in range(3 * BLOCK_JOBS):
            seen.append(queue.take(2))
            yield number

    queue.extend(jobs())

    assert seen == [[], *([number] for number in range(3 * BLOCK_JOBS - 1))]
    assert queue.take(9) == [3 * BLOCK_JOBS - 1]


def test_what_was_yielded_before_an_error_stays() -> None:
    """The error is the caller's affair."""
    queue = Queue()

    def jobs() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError

    with pytest.raises(LookupError):
        queue.extend(jobs())
    assert queue.take(9) == [1, 2]
