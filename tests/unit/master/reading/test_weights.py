"""How much memory what is read takes."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster import Job
from taskmaster.master.reading.weights import LEAST_UNWEIGHED, MOST_UNWEIGHED, Weights, is_light, weigh


@pytest.mark.parametrize(("job", "light"), [(1, True), (None, True), (2.5, True), ("a", False), ((1,), False)])
def test_numbers_are_not_weighed(job: Any, light: bool) -> None:
    """They are read as fast as before."""
    assert is_light(job) is light
    assert is_light(Job(1, job)) is light


def test_what_has_left_the_queue_weighs_nothing() -> None:
    """By the chunk, as far as it was handed out."""
    weights = Weights()
    weights.add(10, 100.0)
    weights.add(20, 50.0)

    assert weights.queued(0) == weights.queued(9) == 150.0
    assert weights.queued(10) == 50.0
    assert weights.queued(20) == 0.0


def test_a_chunk_ends_with_the_job_that_makes_it_heavy() -> None:
    """Which can be handed out like the others; what comes behind it was not asked for."""
    weights = Weights(lambda: 0.0)
    light = ["a" * 10] * (LEAST_UNWEIGHED + 1)
    jobs = iter([*light, "b" * 1000, "c"])

    assert list(weights.weighed(jobs, 5000)) == [*light, "b" * 1000]
    assert weights.cut
    assert list(weights.weighed(jobs, 5000)) == ["c"]
    assert not weights.cut


def test_what_holds_itself_is_weighed_in_the_end() -> None:
    """And a large list of lists in bounded time."""
    knot: list[Any] = []
    knot.append(knot)

    assert weigh(knot) > 0
    assert weigh([["a" * 100] for _ in range(100_000)]) > 10_000_000


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999_999])
def test_rows_that_become_wide_without_notice_are_found_after_a_few(chance: float) -> None:
    """However the chance has it: only so many follow unweighed on one that was weighed."""
    weights = Weights(lambda: chance)
    rows = iter(
        [*({"id": number} for number in range(50)), *({"id": number, "body": "x" * 10_000} for number in range(50))]
    )

    read = list(weights.weighed(rows, 50_000))

    assert weights.cut
    assert len([row for row in read if "body" in row]) <= 2 * MOST_UNWEIGHED
