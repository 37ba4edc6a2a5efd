"""When a run will be over: also while it is held, and never nonsense."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.status import Rate, show_time_left, sparkline, to_json
from taskmaster.view.time_left import time_left

RUN = Snapshot(
    run="r", target="t", state=RunState.RUNNING, reason="", settled=5000, failed=0, settled_here=2000, elapsed=100.0,
    total=9000, queued=1, leased=1, parked=0, waiting=0, skipped=0, slaves=1, workers=1, batch=1, batch_reason="",
    watermark="", address="", working=100.0,
)  # fmt: skip


def rate_of(*samples: tuple[float, int]) -> Rate:
    """Fed with seconds, all of them of work, and settled jobs."""
    rate = Rate()
    for elapsed, settled in samples:
        rate.add(elapsed, settled)
    return rate


STEADY = rate_of(*((float(second), 20 * second) for second in range(1, 101)))


def test_a_paused_run_says_how_long_it_takes_once_resumed() -> None:
    """From the time at work: an hour's pause does not make it slower."""
    paused = replace(RUN, state=RunState.PAUSED, elapsed=3700.0)
    left = time_left(paused, rate_of((100.0, 2000), (3700.0, 2000)))

    assert (left.seconds, left.if_resumed, left.basis) == (200.0, True, "rate")
    assert show_time_left(left) == "ETA 0:03:20 once resumed"
    assert to_json(paused, STEADY)["eta"] is None
    assert to_json(paused, STEADY)["eta_detail"]["seconds"] == 200.0


def test_a_run_that_goes_on_after_a_pause_is_as_fast_as_before() -> None:
    """The last ten seconds were almost all pause; that is not how fast it is."""
    rate = Rate()
    for second in range(1, 201):
        worked = min(second, 100) + max(0, second - 195)
        rate.add(float(second), 20 * worked, float(worked), worked / 1000)
    resumed = replace(RUN, elapsed=200.0, working=105.0, settled=5100, settled_here=2100)

    assert rate.value == pytest.approx(10.0)
    assert time_left(resumed, rate).seconds == pytest.approx(195.0)
    assert time_left(replace(resumed, share=0.5, share_here=0.105), rate).seconds == pytest.approx(500.0)


def test_the_first_moments_after_a_pause_are_no_measure() -> None:
    """Slaves report twice a second: then the session is."""
    rate = rate_of((95.0, 1900), (100.0, 2000))
    rate.add(200.0, 2000, 100.0)
    rate.add(200.1, 2030, 100.1)

    assert time_left(replace(RUN, elapsed=200.1, working=100.1), rate).seconds == pytest.approx(200.2)


def test_a_rate_that_was_set_is_the_fastest_that_the_run_can_be() -> None:
    """At once, and also where so few jobs are settled at it that nothing else can be told."""
    slowed = replace(RUN, rate_limit=0.5)

    assert time_left(slowed, STEADY).seconds == 8000.0
    assert time_left(replace(slowed, state=RunState.PAUSED), STEADY).seconds == 8000.0
    assert time_left(replace(slowed, share=0.5, share_here=0.25), STEADY).seconds == pytest.approx(
        0.5 / (0.25 / 2000 * 0.5)
    )
    rate = Rate()
    for minute in range(1, 7):
        rate.add(60.0 * minute, 1200 * minute)
    left = time_left(replace(slowed, elapsed=360.0, working=360.0, settled_here=7200), rate)
    assert (left.low, left.high) == (8000.0, 8000.0)


@pytest.mark.parametrize("share", [None, 0.5])
def test_how_fast_it_was_at_another_rate_says_nothing(share: float | None) -> None:
    """A night at 0.1 a second, and then full speed: for its time left, its range, and once it is
    resumed from a pause.
    """
    rate = Rate()
    for second in range(0, 30_000, 10):
        rate.add(float(second), second // 10, limit=0.1, share_here=second / 10 * 1e-6)
    for second in range(1, 31):
        rate.add(29_990.0 + second, 2999 + 20 * second, share_here=(2999 + 20 * second) * 1e-6)
    snapshot = replace(
        RUN, elapsed=30_020.0, working=30_020.0, settled=5000, settled_here=3599, share=share, share_here=0.003599
    )
    seconds = 200.0 if share is None else 0.5 / 20e-6

    for state in (RunState.RUNNING, RunState.PAUSED):
        left = time_left(replace(snapshot, state=state), rate)
        assert left.seconds == pytest.approx(seconds)
        assert (left.low, left.high) == (None, None)


def test_right_after_a_rate_was_taken_away_nothing_is_estimated() -> None:
    """How fast the run will be is not known yet; after ten seconds it is."""
    rate = Rate()
    for second in range(0, 2001, 10):
        rate.add(float(second), second, limit=1.0)
    for second in range(1, 6):
        rate.add(2000.0 + second, 2000 + 20 * second)
    free = replace(RUN, elapsed=2005.0, working=2005.0, settled=2100, settled_here=2100)

    left = time_left(free, rate)
    assert left.seconds is None
    assert left.why == "another rate was set, and the run has not been at work with it for 10 s yet"
    assert time_left(replace(free, rate_limit=0.5), rate).seconds == 6900 / 0.5
    for second in range(6, 11):
        rate.add(2000.0 + second, 2000 + 20 * second)
    assert time_left(replace(free, elapsed=2010.0, working=2010.0), rate).seconds == pytest.approx(6900 / 20)


def test_a_throttled_run_has_its_waits_in_the_estimate() -> None:
    """A guard that holds it for two thirds of the time will do so again."""
    throttled = replace(RUN, state=RunState.THROTTLED, elapsed=300.0, working=300.0)

    assert time_left(throttled, rate_of((300.0, 2000))).seconds == 600.0


def test_a_resumed_session_counts_only_its_own_jobs() -> None:
    """What earlier sessions have settled says nothing of how fast this one is."""
    resumed = replace(RUN, settled=1_000_000, settled_here=200, total=1_000_400, elapsed=20.0, working=20.0)

    assert time_left(resumed, rate_of((20.0, 200))).seconds == pytest.approx(40.0)


def test_the_place_of_the_key_goes_before_the_number_of_jobs() -> None:
    """Also while the run is paused."""
    by_key = replace(RUN, share=0.5, share_here=0.25, state=RunState.PAUSING)

    assert time_left(by_key, STEADY)[:1] == (200.0,)
    assert time_left(by_key, STEADY).basis == "keys"
    assert time_left(by_key, STEADY).if_resumed


@pytest.mark.parametrize(
    ("recent_jobs", "recent_share", "seconds"),
    [
        (200, 0.01, 45.0),  # the rows have become wide
        (200, 0.5, 5.0),  # a gap among the keys
        (9, 0.01, 5.0),  # too few jobs to go by
        (200, 0.0, 5.0),  # nothing has been said of the keys since
    ],
)
def test_rows_that_have_become_slow_are_counted_as_such(recent_jobs: int, recent_share: float, seconds: float) -> None:
    """By the last ten seconds, where these are slower than the session."""
    rate = Rate()
    rate.add(90.0, 9000, 90.0, 0.9 - recent_share)
    rate.add(100.0, 9000 + recent_jobs, 100.0, 0.9)

    assert time_left(replace(RUN, share=0.955, share_here=0.9), rate).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"why": "last", "running_for": 12.0, "reason": "waiting for the job 77"}, False),
        ({"why": "last", "running_for": 0.01, "reason": "waiting for the job 77"}, True),
        ({"why": "retry", "reason": "waiting for the job that is to be tried again"}, False),
        ({"why": "retry"}, True),
        ({"why": "retry", "reason": "10,000 jobs wait to be tried again", "cure": "`tm-ctl set size=...`"}, True),
        ({"why": "last", "running_for": 12.0, "reason": "waiting for the job 77", "most_job_seconds": 15.0}, True),
        ({"why": "last", "running_for": 12.0, "reason": "waiting for the job 77", "most_job_seconds": 9.0}, False),
        ({"why": "workers", "running_for": 12.0, "queued": 50}, True),
        ({"why": "workers", "running_for": 12.0, "reason": "throttled: backup"}, True),
    ],
    ids=str,
)
def test_a_last_job_that_hangs_ends_no_run_in_a_moment(fields: dict, known: bool) -> None:
    """It was said to, for ever: the jobs before it were fast."""
    left = time_left(replace(RUN, settled=8999, **fields), STEADY)

    assert (left.seconds is not None) is known
    assert bool(left.why) is not known


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"working": 9.0}, "not been at work"),
        ({"total": None}, "the number of jobs is not known"),
        ({"settled": 9000}, "no more jobs"),
        ({"settled": 9001}, "no more jobs"),
        ({"settled_here": 0}, "nothing has been settled"),
        ({"state": RunState.FINISHED}, "has ended"),
        ({"share": 1.0, "share_here": 0.5}, "no more jobs"),
        ({"share": 0.5, "share_here": 0.0}, "nothing has been settled"),
        ({"elapsed": 0.0, "working": 0.0}, "not been at work"),
    ],
    ids=str,
)
def test_where_nothing_can_be_estimated_there_is_a_reason(fields: dict, why: str) -> None:
    """And no number."""
    left = time_left(replace(RUN, **fields), Rate())

    assert left.seconds is None
    assert why in left.why


def test_a_run_whose_speed_varies_has_a_range() -> None:
    """From the quarters of its minutes; a steady one has hardly any."""
    uneven, jobs = Rate(), 0
    for minute in range(1, 21):
        jobs += 600 if minute % 2 else 1800
        uneven.add(60.0 * minute, jobs)
    snapshot = replace(RUN, elapsed=1200.0, working=1200.0, settled_here=jobs, settled=jobs, total=2 * jobs)
    left = time_left(snapshot, uneven)

    assert left.seconds is not None
    assert left.low is not None
    assert left.high is not None
    assert left.low <= left.seconds < left.high
    assert left.high == pytest.approx(left.low * 3)
    assert time_left(RUN, STEADY).low is None


def test_a_pause_is_no_slow_minute() -> None:
    """Minutes are those of work."""
    rate = Rate()
    for minute in range(1, 6):
        rate.add(60.0 * minute, 600 * minute, 60.0 * minute)
    rate.add(4000.0, 3000, 300.0)

    assert list(rate.minutes) == [10.0] * 5


def test_an_older_master_that_knows_no_working_time_is_taken_by_its_elapsed_time() -> None:
    """It says 0."""
    assert time_left(replace(RUN, working=0.0), STEADY).seconds == pytest.approx(200.0)


def test_a_row_of_bars_is_as_long_as_its_numbers() -> None:
    """The largest is full; nothing is an empty row."""
    assert sparkline([0.0, 5.0, 10.0]) == "▁▅█"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([]) == ""


def test_while_a_pace_looks_for_its_speed_nothing_is_estimated() -> None:
    """By what the run does at two percent it would take weeks, and half a minute later hours."""
    left = time_left(replace(RUN, pace_searches=True), STEADY)

    assert (left.seconds, left.why) == (None, "the pace is still looking for the speed that the run may have")
    assert show_time_left(left) == ""
    assert time_left(RUN, STEADY).seconds == 200.0
