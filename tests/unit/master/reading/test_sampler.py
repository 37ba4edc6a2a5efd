"""Which jobs a sample has, and what a rehearsal tells from it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from taskmaster.errors import KeyUnstorable
from taskmaster.master.reading.sampler import BURST_JOBS, Sampler
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.pickling import pickled
from taskmaster.master.summary import Summary
from taskmaster.model import Job
from taskmaster.runner.sample_run import SampleRun
from taskmaster.view.snapshot import RunState, Snapshot

BEGINNING = Snapshot(
    run="r", target="t", state=RunState.RUNNING, reason="", settled=0, failed=0, settled_here=0, elapsed=0.0,
    total=None, queued=0, leased=0, parked=0, waiting=0, skipped=0, slaves=1, workers=2,
    batch=0, batch_reason="", watermark="", address="",
)  # fmt: skip


def sample(jobs: object, share: float) -> list[object]:
    return list(Sampler(Source(jobs), JobIdentity(), share).iterate(None))


def summary(settled: int, failed: int = 0) -> Summary:
    return Summary("r", 3 if failed else 0, settled, failed, settled, 12.0, "")


def test_a_sample_is_about_its_share_and_always_the_same() -> None:
    """In the order of the source; a larger one contains a smaller one."""
    small, large = sample(range(20_000), 0.01), sample(range(20_000), 0.1)

    assert 120 < len(small) < 280
    assert 1700 < len(large) < 2300
    assert small == sample(range(20_000), 0.01) == sorted(small)
    assert set(small) < set(large)


def test_all_is_a_sample_too() -> None:
    """100 % leaves nothing out."""
    assert sample(range(5000), 1.0) == list(range(5000))


def test_the_source_is_closed_with_its_sample() -> None:
    """A rehearsal may be stopped before it has read everything."""
    closed = []

    def get_jobs() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed.append(True)

    source = Source(Sampler(Source(get_jobs), JobIdentity(), 1.0))
    next(source.iterate())
    source.close()

    assert closed


def test_jobs_with_one_key_are_chosen_together() -> None:
    """The payload has no part in it."""
    chosen = sample([Job(key, payload) for key in range(500) for payload in range(3)], 0.2)

    assert len(chosen) % 3 == 0
    assert {job.payload for job in chosen} == {0, 1, 2}


def test_a_job_without_a_key_is_refused_although_it_might_not_be_chosen() -> None:
    """The run would refuse it as well."""
    with pytest.raises(KeyUnstorable):
        sample([object()], 0.0001)


def test_the_sample_is_passed_on_by_the_thousand() -> None:
    """So that the workers have something to do at once; the source is read on meanwhile only if it
    is asked for.
    """
    read: list[int] = []

    def get_jobs() -> Iterator[int]:
        for number in range(10 * BURST_JOBS):
            read.append(number)
            yield number

    ticks = count()
    sampler = Sampler(Source(get_jobs), JobIdentity(), 0.2, clock=lambda: float(next(ticks)))
    iterator = sampler.iterate(None)
    next(iterator)
    before = len(read)

    assert sampler.chosen == BURST_JOBS
    assert sampler.handed_at is not None
    for _ in range(BURST_JOBS - 1):
        next(iterator)
    assert len(read) == before
    assert 1 + sum(1 for _ in iterator) + BURST_JOBS - 1 == sampler.chosen
    assert sampler.read == 10 * BURST_JOBS


def test_reading_is_timed_without_the_waiting() -> None:
    """While the reader wants no more, the source does not work."""
    now = 0.0

    def get_jobs() -> Iterator[int]:
        nonlocal now
        for number in range(2 * BURST_JOBS):
            now += 1.0
            yield number

    sampler = Sampler(Source(get_jobs), JobIdentity(), 1.0, clock=lambda: now)
    for _ in sampler.iterate(None):
        now += 100.0

    assert sampler.reading == 2.0 * BURST_JOBS
    assert sampler.handed_at == BURST_JOBS


def rehearsal_of(jobs: int, share: float) -> SampleRun:
    rehearsal = SampleRun(Source(range(jobs)), JobIdentity(), share)
    assert list(rehearsal.source.iterate())
    rehearsal._sampler.handed_at = 100.0
    rehearsal._sampler.reading = 5.0
    return rehearsal


def test_the_whole_takes_as_long_as_its_jobs() -> None:
    """What the sample took since it was passed on, times the share."""
    rehearsal = rehearsal_of(1000, 0.1)

    assert rehearsal.estimate(100, now=120.0) == 200.0


def test_the_whole_takes_no_less_than_reading_it() -> None:
    """However fast the jobs are."""
    rehearsal = rehearsal_of(1000, 0.1)

    assert rehearsal.estimate(100, now=100.1) == 5.0


def test_time_without_workers_is_left_out() -> None:
    """A slave that comes late makes the jobs no slower."""
    rehearsal = rehearsal_of(1000, 0.1)
    rehearsal.observe(replace(BEGINNING, workers=0))
    rehearsal.observe(replace(BEGINNING, workers=0, elapsed=60.0))

    assert rehearsal.estimate(100, now=180.0) == 200.0


def test_time_in_which_all_workers_were_busy_tells_their_rate() -> None:
    """Where reading holds them up in between."""
    rehearsal = rehearsal_of(1000, 0.1)
    for elapsed, settled, queued in [(0.0, 0, 50), (4.0, 40, 10), (50.0, 50, 0), (60.0, 50, 30), (62.0, 70, 10)]:
        rehearsal.observe(replace(BEGINNING, elapsed=elapsed, settled_here=settled, queued=queued))

    assert rehearsal.estimate(100, now=200.0) == pytest.approx(6.0 * 1000 / 60)


def test_the_report_says_what_was_run_and_what_is_left_untouched() -> None:
    """In sentences, with the number of workers that it holds for."""
    rehearsal = rehearsal_of(1000, 0.1)
    rehearsal.observe(BEGINNING)
    first, second = rehearsal.report(summary(100, failed=2), now=120.0)

    assert first == (
        "Rehearsal: 100 of 1000 jobs were run, 2 of them failed. It took 0:00:12; to read all jobs took 5 s of that."
    )
    assert second == "All 1000 jobs would take about 0:03:20 with as many workers (2)."
    assert "10% of all jobs" in rehearsal.announce()


def test_an_empty_sample_is_said() -> None:
    """With the option that cures it."""
    (line,) = rehearsal_of(1000, 0.1).report(summary(0), now=120.0)

    assert line == "Rehearsal: 1000 jobs read, and none belongs to a sample of 10%; give a larger --sample."


def test_a_job_that_the_source_changes_is_passed_on_as_it_was() -> None:
    """Jobs are held back for a while, in which one dict may be yielded again and again."""

    def get_jobs() -> Iterator[dict[str, int]]:
        row: dict[str, int] = {}
        for number in range(3 * BURST_JOBS):
            row["id"] = number
            yield row

    sampler = Sampler(Source(get_jobs), JobIdentity(), 1.0)

    assert [pickle.loads(pickled(job))["id"] for job in sampler.iterate(None)] == list(range(3 * BURST_JOBS))


def test_what_is_held_back_is_capped_in_bytes() -> None:
    """Wide rows are passed on sooner."""
    read = []

    def get_jobs() -> Iterator[dict[str, object]]:
        for number in range(100):
            read.append(number)
            yield {"id": number, "body": bytes(1_000_000)}

    jobs = Sampler(Source(get_jobs), JobIdentity(), 1.0).iterate(None)
    next(jobs)

    assert len(read) < 20
