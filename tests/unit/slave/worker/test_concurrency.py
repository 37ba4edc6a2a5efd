"""Which coroutines are cancelled for their time; the time is played."""

from __future__ import annotations

import asyncio

from taskmaster.slave.ipc.job_clock import STANDSTILL_SECONDS
from taskmaster.slave.worker.concurrency import CANCEL_CHECK_SECONDS, Overtime


async def begin(overtime: Overtime, *limits: float) -> list[asyncio.Task[None]]:
    """Jobs that wait for ever, each with its limit."""
    jobs: list[asyncio.Task[None]] = []
    for limit in limits:
        job: asyncio.Task[None] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
        overtime.begin(job, limit)
        jobs.append(job)
    await asyncio.sleep(0)
    return jobs


async def end(jobs: list[asyncio.Task[None]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.wait(jobs)


def test_each_coroutine_has_its_own_time() -> None:
    """It is cancelled once, and nothing is known of it when it has ended."""

    async def play() -> None:
        overtime = Overtime(0.0)
        short, long = await begin(overtime, 1.0, 60.0)

        assert overtime.cancel_late(0.0) == CANCEL_CHECK_SECONDS

        for quarter in range(1, 4):
            overtime.cancel_late(quarter / 4)

        assert short.cancelling() == 0

        overtime.cancel_late(1.0)
        overtime.cancel_late(1.25)

        assert (short.cancelling(), long.cancelling()) == (1, 0)
        assert (overtime.end(short), overtime.end(long)) == (True, False)
        assert not overtime.end(short)

        await end([short, long])

    asyncio.run(play())


def test_a_standstill_is_no_coroutines_time() -> None:
    """A slave that was suspended for an hour has not run its jobs for an hour."""

    async def play() -> None:
        overtime = Overtime(0.0)
        (job,) = await begin(overtime, 2 * STANDSTILL_SECONDS)
        overtime.cancel_late(0.0)
        overtime.cancel_late(0.25)
        overtime.cancel_late(3600.0)

        assert job.cancelling() == 0

        overtime.cancel_late(3600.75)

        assert job.cancelling() == 1

        await end([job])

    asyncio.run(play())


def test_short_limits_are_looked_at_more_often() -> None:
    """Four times in each."""

    async def play() -> None:
        overtime = Overtime(0.0)

        assert overtime.cancel_late(0.0) == CANCEL_CHECK_SECONDS

        jobs = await begin(overtime, 60.0, 0.2)

        assert overtime.cancel_late(0.0) == 0.05

        await end(jobs)

    asyncio.run(play())
