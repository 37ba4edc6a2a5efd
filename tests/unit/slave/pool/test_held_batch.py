"""A batch in a slave's hands."""

from __future__ import annotations

import pytest

from taskmaster.model import Failure, FailureKind, WireBatch
from taskmaster.slave.pool import held_batch
from taskmaster.slave.pool.held_batch import HeldBatch


def batch(count: int = 3) -> HeldBatch:
    return HeldBatch(WireBatch("a.1", count, separate=False, alone=False, avoid=0, blob=b""), count)


def test_a_failure_of_a_job_that_was_given_back_counts_elsewhere() -> None:
    """It was started at the very moment; a job that was skipped has not failed."""
    held = batch()
    held.keep = 2
    held.fail(Failure(2, "E", "why", "trace"))
    held.fail(Failure(1, "E", "why", "trace"))
    held.fail(Failure(0, "Skip", "", "", FailureKind.SKIP))

    assert [failure.index for failure in held.failures] == [1, 0]
    assert held.failed == 1


def test_texts_are_left_out_where_many_jobs_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """First what led there, then the messages, too."""
    monkeypatch.setattr(held_batch, "MOST_FAILURE_BYTES", 1000)
    held = batch(9)
    for index in range(9):
        held.fail(Failure(index, "E", "m" * 200, "t" * 200))

    whole = [failure for failure in held.failures if failure.traceback == "t" * 200]
    short = [failure for failure in held.failures if len(failure.message) == held_batch.SHORT_MESSAGE_CHARACTERS]
    assert (len(whole), len(short), held.failures[-1].message) == (2, 2, "")


def test_a_job_that_the_master_has_named_is_not_told_as_running_for_long() -> None:
    """It is told where it runs, which a person may want to know."""
    held = batch()
    held.tickets[0] = 7
    held.runs_long(0, worker=12)
    held.runs_long(1, worker=12)

    assert held.report().long == (1,)
    assert held.report().worker == 12
