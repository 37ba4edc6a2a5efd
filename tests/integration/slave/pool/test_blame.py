"""Who is blamed when a worker dies, and what of a failure is reported: by the scoreboard and by the
batches in flight.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from taskmaster.model import Failure, WireBatch
from taskmaster.slave.ipc.messages import RunBatch, to_plain
from taskmaster.slave.ipc.scoreboard import ENDED, NOT_BEGUN, OPENING, RUNNING, SCOREBOARD_BYTES, Scoreboard
from taskmaster.slave.pool.held_batch import MOST_FAILURE_BYTES
from taskmaster.slave.pool.in_flight import MOST_REPORTED_BYTES, InFlight
from taskmaster.slave.pool.shared_memory import make_memory
from taskmaster.slave.worker.message_sender import MessageSender, message_of
from taskmaster.slave.worker.worker import read_batches
from taskmaster.transport.channel import Channel
from taskmaster.transport.frames import frame
from taskmaster.transport.plain import plain_dumps, plain_loads


@pytest.fixture
def scoreboard() -> Scoreboard:
    """A scoreboard with a batch of five in its first region."""
    memory = make_memory(SCOREBOARD_BYTES)
    made = Scoreboard(memory)
    os.close(memory)
    made.prepare(0, 5)
    return made


@pytest.fixture
def sockets() -> Iterator[tuple[Channel, Channel]]:
    """The supervisor's and the worker's end."""
    ours, theirs = (Channel(end) for end in socket.socketpair())
    ours.deadline(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def lent(count: int = 5, token: str = "t") -> WireBatch:
    return WireBatch(token, count, False, False, 0, b"")


def test_a_job_that_was_recalled_while_it_ran_is_still_running(scoreboard: Scoreboard) -> None:
    """Its limit is below it then; it is blamed all the same if its worker dies."""
    scoreboard.heads[0][1] = 2
    kept = scoreboard.lower(0, 0, 5, several=False)

    assert kept == 3
    assert scoreboard.running(0, kept, several=False) == [2]


def test_nothing_runs_when_all_that_was_kept_has_ended(scoreboard: Scoreboard) -> None:
    """The worker stopped at the limit and died after that: nobody is to blame."""
    scoreboard.heads[0][1] = 2
    kept = scoreboard.lower(0, 0, 5, several=False)
    scoreboard.heads[0][1] = 3

    assert scoreboard.running(0, kept, several=False) == []


def test_all_jobs_that_run_at_once_are_known(scoreboard: Scoreboard) -> None:
    """Those that have ended out of order are not among them."""
    scoreboard.heads[0][1] = 1
    for index, state in enumerate((ENDED, RUNNING, ENDED, RUNNING)):
        scoreboard.states[0][index] = state

    assert scoreboard.running(0, 5, several=True) == [1, 3]
    assert scoreboard.ended_beyond(0, 1, 5) == (2,)


def test_progress_read_a_moment_ago_loses_no_ended_job(scoreboard: Scoreboard) -> None:
    """The position may move on between two looks; what it has passed since is still among the
    ended.
    """
    before = scoreboard.position(0)
    for index in range(3):
        scoreboard.states[0][index] = ENDED
    scoreboard.heads[0][1] = 3

    assert scoreboard.ended_beyond(0, before, 5) == (0, 1, 2)


def test_a_batch_that_waits_for_its_turn_is_not_being_opened(
    scoreboard: Scoreboard, sockets: tuple[Channel, Channel]
) -> None:
    """A worker that dies then has not died of unpickling it."""
    ours, theirs = sockets
    ours.send(to_plain(RunBatch(0, False, False, None, b"\x80\x05].")))
    next(read_batches(theirs, MessageSender(theirs), scoreboard, memoryview(b"")))

    assert scoreboard.heads[0][1] == NOT_BEGUN
    assert not scoreboard.opening(0)

    scoreboard.heads[0][1] = OPENING

    assert scoreboard.opening(0)


def test_a_job_that_had_failed_already_is_no_suspect() -> None:
    """The worker died between saying so and moving on: the job has had its attempt."""
    in_flight = InFlight()
    held = in_flight.take(lent())
    in_flight.progress(held, 2)
    held.fail(Failure(2, "ValueError", "no", ""))
    in_flight.crash(held, [2], "crashed by SIGKILL")
    report = in_flight.reports()[0]

    assert report.suspects == ()
    assert report.end == "dropped"
    assert report.extra == (2,)
    assert [failure.index for failure in report.failures] == [2]
    assert (in_flight.done, in_flight.failed) == (2, 1)


def test_a_neighbour_of_a_failed_job_is_still_a_suspect() -> None:
    """With several at once, one has failed and another has killed the worker."""
    in_flight = InFlight()
    held = in_flight.take(lent())
    held.fail(Failure(1, "ValueError", "no", ""))
    in_flight.crash(held, [0, 1], "crashed by SIGKILL")
    report = in_flight.reports()[0]

    assert (report.end, report.suspects, report.extra) == ("crashed", (0,), (1,))


def test_what_fails_after_it_was_given_back_is_not_reported() -> None:
    """It belongs to somebody else by then."""
    in_flight = InFlight()
    held = in_flight.take(lent())
    held.keep = 2
    held.fail(Failure(2, "ValueError", "no", ""))
    in_flight.finish(held, 2)

    assert in_flight.reports()[0].failures == ()
    assert (in_flight.done, in_flight.failed) == (2, 0)


def test_the_texts_of_one_batch_have_a_bound() -> None:
    """Every job of a large batch fails with a long traceback: each is reported, not every
    traceback.
    """
    in_flight = InFlight()
    held = in_flight.take(lent(5000))
    for index in range(5000):
        held.fail(Failure(index, "ValueError", "no", "x" * 8192))
    in_flight.progress(held, 5000)
    failures = in_flight.reports()[0].failures

    assert len(failures) == 5000
    assert sum(len(failure.traceback) for failure in failures) < 2 * MOST_FAILURE_BYTES
    assert "left out" in failures[-1].traceback


def test_reports_that_are_too_much_for_a_frame_come_one_after_the_other() -> None:
    """Many batches fail at once; each is reported in its turn, and none is lost."""
    in_flight = InFlight()
    for number in range(40):
        held = in_flight.take(lent(200, f"t{number}"))
        for index in range(200):
            held.fail(Failure(index, "ValueError", "no", "x" * 8192))
        in_flight.finish(held, 200)
    told: list[str] = []
    rounds = 0
    while reports := in_flight.reports():
        size = sum(map(len, frame([report.to_wire() for report in reports])))

        assert size < 2 * MOST_REPORTED_BYTES

        told += [report.token for report in reports]
        in_flight.answered()
        rounds += 1

    assert sorted(told) == sorted(f"t{number}" for number in range(40))
    assert rounds > 1
    assert in_flight.settled


def test_a_message_of_a_class_of_its_own_is_sent_as_text() -> None:
    """As template engines have them; the supervisor reads nothing but plain values."""

    class Safe(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self

    message = message_of(ValueError(Safe("not <b>that</b>")))

    assert type(message) is str
    assert plain_loads(plain_dumps(("failed", message))) == ("failed", "not <b>that</b>")
