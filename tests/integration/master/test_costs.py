"""What a batch costs, counted: calls of the user's code, pickles, system calls. Seconds are in
``benchmarks/``.
"""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest
import support.master

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.records import pickling
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.model import PROTOCOL, Answer, Job, Report, ReportEnd, Want
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import APART_BYTES, frame

JOBS = 10_000


class Master:
    """A service with jobs in its queue, and one slave; counts how often a key is asked for."""

    def __init__(self, jobs: list[Any]) -> None:
        self.keys = 0
        self.broker = Broker("i", Limits())
        self.broker.intake.add(jobs)
        self.broker.batch_limit.note(8.0)
        self.service = support.master.Master(self.broker, JobIdentity(self.key)).service
        about = {"protocol": PROTOCOL, "session": "s", "name": "n", "workers": 1, "slots": 1, "python": "3.11.0"}
        assert self.service.hello(about)["ok"]

    def key(self, job: Any) -> Any:
        self.keys += 1
        return getattr(job, "id", job)

    def exchange(self, reports: list[Report], batches: int) -> Answer:
        want = Want(batches, JOBS, JOBS, "")
        return Answer.from_wire(self.service.exchange("s", [report.to_wire() for report in reports], tuple(want)))


def test_the_key_of_a_job_is_asked_for_once_before_it_is_handed_out() -> None:
    """So that a job without one is noticed; and a few times more at the ends of a batch, where the
    watermark may come to stand.
    """
    master = Master(list(range(JOBS)))

    (lent,) = master.exchange([], 1).batches
    master.exchange([Report(lent.token, lent.count, keep=lent.count, end=ReportEnd.FINISHED)], 0)

    assert lent.count == JOBS
    assert master.broker.watermark.low == JOBS
    assert master.keys <= JOBS + 6


def test_a_batch_is_pickled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole; jobs with a key apart are unwrapped first, and one that hides among others costs
    a second try.
    """
    counted: Counter[int] = Counter()
    do_pickle = pickling.pickle_value

    def count(value: Any, *rest: Any) -> Any:
        counted[len(value)] += 1
        return do_pickle(value, *rest)

    monkeypatch.setattr(pickling, "pickle_value", count)
    for jobs, times in [
        (list(range(100)), 1),
        ([Job(number, number) for number in range(100)], 1),
        ([*range(99), Job(99, 99)], 2),
    ]:
        counted.clear()
        (lent,) = Master(jobs).exchange([], 1).batches

        assert pickle.loads(bytes(lent.blob)) == list(range(100))
        assert counted == {100: times}


class Socket:
    """Has all that it was given at once, and counts how often it is asked."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.received = self.sent = 0

    def setblocking(self, flag: bool) -> None:
        pass

    def recv_into(self, buffer: memoryview) -> int:
        self.received += 1
        count = min(len(buffer), len(self.data))
        buffer[:count] = self.data[:count]
        self.data = self.data[count:]
        return count

    def sendmsg(self, segments: list[memoryview]) -> int:
        self.sent += 1
        return sum(map(len, segments))


@pytest.mark.parametrize(("value", "receives"), [("short", 1), (b"x" * APART_BYTES, 1), (b"x" * 250_000, 2)])
def test_a_frame_takes_few_system_calls(value: Any, receives: int) -> None:
    """One to send it, one to receive a short one, one more for what is long."""
    there = Socket()
    Channel(there).send(value)  # type: ignore[arg-type]
    here = Socket(b"".join(frame(value)))

    assert Channel(here).recv() == value  # type: ignore[arg-type]
    assert (there.sent, here.received) == (1, receives)


def test_a_buffer_is_pickled_like_anything_else() -> None:
    """An object that hands its memory to the pickler (an array) goes in one pickle with its
    neighbours.
    """

    class Array:
        id = 1

        def __reduce_ex__(self, protocol: int) -> Any:
            return bytearray, (pickle.PickleBuffer(bytearray(b"x" * 200_000)),)

    (lent,) = Master([Array(), Array()]).exchange([], 1).batches

    assert not lent.separate
    assert pickle.loads(bytes(lent.blob))[0] == b"x" * 200_000
