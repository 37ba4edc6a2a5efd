"""The job that was next when a run stopped, and the one that comes first when it is resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from support.master import settle

from taskmaster import keys
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.broker.slaves import ConnectedSlave
from taskmaster.master.broker.watermark import END, Watermark, settled_range
from taskmaster.master.reading.dedup import Dedup
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.key_order import KeyOrder
from taskmaster.master.reading.reader import Reader
from taskmaster.master.reading.source import Source
from taskmaster.master.reading.successor import Expected, expected, recorded_successor, successor
from taskmaster.master.records.job_identity import JobIdentity
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.records.steering_records import TrailRow
from taskmaster.model import Report, ReportEnd, Want


def stopped(text: str, commands: tuple[str, ...] = ("started", "stopped")) -> list[TrailRow]:
    """A trail in which the last row of the last of these commands says what is next."""
    before = {commands[-1] if commands[-1] in ("stopped", "started") else "stopped": text}
    return [
        TrailRow(n, 1.0, command, "", "", "", "master", "", before.get(command, ""), "")
        for n, command in enumerate(commands, 1)
    ]


def after_three(jobs: Any) -> str:
    """What is said of the next job when three of them are done."""
    identity, lock = JobIdentity(), threading.Lock()
    broker = Broker("i", Limits())
    broker.intake.add(jobs)
    slave = ConnectedSlave("s", "s", 1, 1, 0.0)
    broker.enter(slave, ())
    broker.batch_limit.note(1.0)
    lease = broker.take(slave, Want(1, 3, 3, ""))
    assert lease is not None
    settle(broker, lease, Report(lease.token, 3, end=ReportEnd.FINISHED), identity.text)
    broker.collect()
    return successor(broker, lock, identity)


def doubt(jobs: Any, mark: Any, said: str, commands: tuple[str, ...] = ("started", "stopped")) -> str:
    """What a resumed session says of its source."""
    record = RunRecord("r", resumed=True, mark=keys.encode(mark), settled=3, trail=stopped(said, commands))
    identity, lock = JobIdentity(), threading.Lock()
    broker, checks = Broker("i", Limits(), record), JobChecks(identity)
    known = (identity, Dedup(record), record.mark)
    reader = Reader(Source(jobs), broker, lock, *known, checks=checks, expected=expected(record))
    reader.prepare()
    for _ in range(100):
        if broker.intake.exhausted:
            return checks.doubt
        reader.step()
    raise AssertionError("the source has no end")


def behind(rows: list[Any]) -> Callable[..., Any]:
    """A source that begins after ``last``, compared as Python compares."""

    def get_jobs(last: Any = None) -> Any:
        return (row for row in rows if last is None or row > last)

    return get_jobs


CASES: dict[str, tuple[list[Any], Callable[..., Any]]] = {
    "letters of both cases": (list("aBcDeF"), behind(list("aBcDeF"))),
    "numbers as text": (["8", "9", "10", "11", "90"], behind(["8", "9", "10", "11", "90"])),
    "last taken for an offset": ([100, 101, 102, 103], lambda last=0: iter([100, 101, 102, 103][last:])),
    "a list in another order": ([1, 2, 3, 4], lambda: [4, 3, 2, 1]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_source_that_does_not_go_on_where_it_was_is_doubted(case: str) -> None:
    """Whatever the reason is, and also if nothing comes."""
    rows, again = CASES[case]
    said = after_three(rows)
    assert said == f"key {rows[2]!r}, then {rows[3]!r}"

    assert "does not go on where it was" in doubt(again, rows[2], said)


@pytest.mark.parametrize(
    "again",
    [
        lambda last=0: iter(range(last + 1, 9)),
        lambda last=0: iter(range(last, 9)),  # inclusive
        lambda last=0: iter([last, last, *range(last, 9)]),
        lambda: range(9),
        list(range(9)),
    ],
)
def test_one_that_does_is_not(again: Any) -> None:
    """With ``last`` or without it."""
    assert doubt(again, 3, "key 3, then 4") == ""


def test_a_doubt_is_told_at_once() -> None:
    """So that it is in the state before a job is done: the master may be killed."""
    record = RunRecord("r", resumed=True, mark=keys.encode(3), settled=3, trail=stopped("key 3, then 4"))
    told: list[str] = []
    checks = JobChecks(JobIdentity(), record, told.append)
    checks.compare("get_jobs", "key 3, then 4", "key 3, then 5")

    assert told == [checks.doubt] != [""]


def test_keys_out_of_order_are_told_at_once_where_a_run_was_resumed() -> None:
    """One that is new has left nothing out."""
    record = RunRecord("r", resumed=True, mark=keys.encode(3), settled=3)
    for resumed in (record, None):
        told: list[str] = []
        checks = JobChecks(JobIdentity(), resumed, told.append)
        checks.follow_order("get_jobs", KeyOrder(3))
        checks.check(0, [4, 6, 5])

        assert checks.fault
        assert told == ([checks.left_out] if resumed else [])


def test_it_is_expected_until_the_run_has_gone_on() -> None:
    """Also after a session that was killed before it has: which may have run that job."""
    mark, said = keys.encode(3), "key 3, then 4"
    found = [
        expected(RunRecord("r", resumed=True, mark=mark, trail=rows))
        for rows in (
            stopped(said),
            stopped(said, ("stopped", "note")),
            stopped(said, ("stopped", "resumed")),
            stopped(said, ("started",)),
            stopped("key 2, then 3"),
            stopped(said, ("stopped", "resumed", "finished")),
        )
    ]

    assert found == [Expected(said), Expected(said), Expected(said, True), Expected(said, True), *[Expected("")] * 2]


def test_each_checkpoint_can_say_it() -> None:
    """As the watermark knows it, whichever part of a range it has passed."""
    watermark = Watermark()
    assert recorded_successor(watermark) == ""
    watermark.settle(settled_range(0, [1, 2, 3], keys.encode))
    assert recorded_successor(watermark) == "key 2, then 3"
    watermark.settle_successor(keys.encode(4))
    assert recorded_successor(watermark) == "key 3, then 4"
    watermark.settle(settled_range(3, [4], keys.encode))
    assert recorded_successor(watermark) == "key 3, then 4"
    watermark.settle_successor(END)
    assert recorded_successor(watermark) == ""
    watermark.jump(keys.encode(9))
    assert recorded_successor(watermark) == ""


KILLED = ("started",)


@pytest.mark.parametrize("case", ["letters of both cases", "a list in another order"])
def test_a_run_that_was_killed_finds_it_out_too(case: str) -> None:
    """Where texts do not come as they are compared, and where nothing is skipped to."""
    rows, again = CASES[case]

    assert "does not go on where it was" in doubt(again, rows[2], after_three(rows), KILLED)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["c", "e"], "key 'c', then 'd'"),
        (["c", "b"], "key 'c', then 'd'"),
        ([(1, "b"), (2, "a")], "key (1, 'b'), then (1, 'c')"),
        (["c"], "key 'c', then 'd'"),
        ([date(2020, 1, 1), date(2020, 1, 3)], f"key {date(2020, 1, 1)!r}, then {date(2020, 1, 2)!r}"),
    ],
    ids=["text", "in another order", "tuple", "nothing more", "date"],
)
def test_a_killed_run_may_have_removed_it(rows: list[Any], said: str) -> None:
    """A callback that deletes what it has done is no reason for doubt, if the keys say so."""
    found = doubt(lambda last=None: iter(rows[1:]), rows[0], said, KILLED)

    assert bool(found) == (rows == ["c", "b"])
