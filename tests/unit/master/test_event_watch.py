"""What has happened in a run, found out from how it stood and how it stands."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from taskmaster.master.event_watch import EventWatch
from taskmaster.master.events import EventName
from taskmaster.master.records.steering_records import TrailRow
from taskmaster.view.snapshot import Snapshot

START = Snapshot.from_wire({"state": "running", "target": "backfill.py"})


class Kind(NamedTuple):
    """A kind of failure."""

    type: str
    count: int
    where: str = "jobs.py:31 clean()"
    message: str = "bad title"


class Story:
    """A run that is looked at again and again."""

    def __init__(self, stall: float = 600.0) -> None:
        self.watch = EventWatch(stall)
        self._now = {"elapsed": 0.0, "settled_here": 0, "settled": 0, "failed": 0, "state": "running"}

    def goes_on(self, seconds: float, **about: Any) -> list[str]:
        """What has happened after some seconds, in which jobs were settled, by name."""
        settled = int(about.pop("settled", 1))
        given = {name: about.pop(name) for name in ("rows", "slaves", "kinds") if name in about}
        self._now.update(about)
        self._now["elapsed"] += seconds
        self._now["settled_here"] += settled
        snapshot = Snapshot.from_wire({**START.to_wire(), **self._now})
        self.found = self.watch.observe(snapshot, **given)
        return [str(name) for name, _ in self.found]

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of the only event."""
        ((_, facts),) = self.found
        return facts


def row(command: str, **about: Any) -> TrailRow:
    """A row of the trail."""
    known = {"user": "anna", "host": "bastion", "peer": "", "via": "tm-ctl", "reason": "", "before": "", "after": ""}
    return TrailRow(seq=1, at=0.0, command=command, **{**known, **about})


@pytest.mark.parametrize(
    ("command", "event"),
    [
        ("started", "started"), ("resumed", "resumed"), ("pause", "paused"), ("resume", "unpaused"),
        ("rate", "changed"), ("set", "changed"), ("quiet", "changed"), ("retry", "changed"), ("note", "changed"),
    ],
)  # fmt: skip
def test_each_row_of_the_trail_is_an_event(command: str, event: str) -> None:
    """What somebody did is told by the event of its kind."""
    assert Story().goes_on(1, rows=[row(command)]) == [event]


def test_the_end_is_told_by_the_run_itself() -> None:
    """The rows of the trail about the end come before the last checkpoint, which may fail."""
    assert Story().goes_on(1, rows=[row("finished"), row("stopped")]) == []


def test_a_pause_says_who_until_when_and_why() -> None:
    """The sentence can be understood alone."""
    story = Story()
    story.goes_on(1, rows=[row("pause", reason="deploy", before="running", after="paused until 13:40")])

    assert story.facts["text"] == "anna@bastion has paused the run until 13:40: deploy."
    assert (story.facts["by"], story.facts["reason"]) == ("anna@bastion", "deploy")


def test_slaves_come_leave_and_are_lost() -> None:
    """Each by its name; where more than twenty do the same at once, their number is told."""
    story = Story()

    assert story.goes_on(1, slaves=[("web3:8", ""), ("web4:9", "said goodbye"), ("web5:1", "lost")]) == [
        "slave-joined", "slave-left", "slave-lost",
    ]  # fmt: skip
    assert [facts["slave"] for _, facts in story.found] == ["web3:8", "web4:9", "web5:1"]
    assert story.goes_on(1, slaves=[(f"s{n}", "lost") for n in range(300)]) == ["slave-lost"]
    assert story.facts["count"] == 300


def test_a_kind_of_failure_is_told_when_it_is_new_and_when_it_is_ten_times_as_much() -> None:
    """Ten thousand failures of a kind are five events, not fifty thousand."""
    story = Story()

    def told(count: int) -> bool:
        return bool(story.goes_on(0.001, failed=count, kinds=[Kind("ValueError", count)]))

    found = [(story.facts["count"], story.facts["new"]) for count in range(1, 11_000) if told(count)]

    assert found == [(1, True), (10, False), (100, False), (1000, False), (10_000, False)]


def test_another_kind_is_told_at_once() -> None:
    """Also the same class in another place."""
    story = Story()
    story.goes_on(1, failed=1, kinds=[Kind("ValueError", 1)])

    assert story.goes_on(1, failed=2, kinds=[Kind("ValueError", 1), Kind("ValueError", 1, "jobs.py:9 save()")]) == [
        "failure"
    ]
    assert story.facts["where"] == "jobs.py:9 save()"


def test_what_has_failed_before_a_restart_is_not_told_again() -> None:
    """A resumed run tells of what is new, and of ten times as much."""
    story = Story()
    story.watch.begin([Kind("ValueError", 20)], 20)

    assert story.goes_on(1, failed=20, kinds=[Kind("ValueError", 20)]) == []
    assert story.goes_on(1, failed=21, kinds=[Kind("ValueError", 21)]) == []
    assert story.goes_on(1, failed=200, kinds=[Kind("ValueError", 200)]) == ["failure"]


def test_kinds_without_end_are_no_events_without_end() -> None:
    """A class that is made anew for each job would fill the ring."""
    story = Story()

    told = sum(len(story.goes_on(0, failed=n + 1, kinds=[Kind(f"E{n}", 1)])) for n in range(1000))

    assert told <= 201
    assert story.goes_on(0, failed=2000, kinds=[Kind("E7", 10)]) == ["failure"]


def test_a_throttle_is_told_when_it_holds_for_a_while() -> None:
    """One that changes each second is told once, not each second."""
    story = Story()

    assert story.goes_on(1, state="throttled", reason="replication lag 7 s") == []
    assert story.goes_on(1, state="running", reason="") == []
    assert story.goes_on(1, state="throttled", reason="replication lag 7 s") == []
    assert story.goes_on(2.5) == ["throttled"]
    assert story.facts["reason"] == "replication lag 7 s"
    assert story.goes_on(9) == []
    assert story.goes_on(1, state="running", reason="") == []
    assert story.goes_on(2.5) == ["unthrottled"]


def test_a_state_that_cannot_be_written_is_told_and_that_it_can_be_again() -> None:
    """With the reason, and once each."""
    story = Story()

    assert story.goes_on(1, why="state", state="paused", reason="No space left on /srv") == ["state-unwritable"]
    assert "No space left on /srv" in story.facts["text"]
    assert story.goes_on(1) == []
    assert story.goes_on(1, why="workers", state="running", reason="") == ["state-writable"]


def test_a_run_that_settles_nothing_is_stalled_once() -> None:
    """Until something is settled, and it stands still again."""
    story = Story(stall=10.0)
    story.goes_on(1)

    assert story.goes_on(9, settled=0) == []
    assert story.goes_on(2, settled=0, why="last", why_sentence="the last job runs", cure="wait") == ["stalled"]
    assert story.facts["text"] == "No job has been settled for 11s: the last job runs."
    assert (story.facts["why"], story.facts["cure"]) == ("last", "wait")
    assert story.goes_on(100, settled=0) == []
    assert story.goes_on(1) == []
    assert story.goes_on(11, settled=0) == ["stalled"]


def test_a_run_that_somebody_has_paused_is_not_stalled() -> None:
    """Nor just after it was let go."""
    story = Story(stall=10.0)

    assert story.goes_on(100, settled=0, why="paused", state="paused") == []
    assert story.goes_on(5, settled=0, why="workers", state="running") == []
    assert story.goes_on(6, settled=0) == ["stalled"]


def test_no_text_of_others_can_tell_a_terminal_anything() -> None:
    """Names, reasons and messages come from anywhere."""
    story, evil = Story(), "\x1b[2J\n" + "x" * 5000
    story.goes_on(
        1,
        rows=[row("pause", reason=evil, user=evil)],
        slaves=[(evil, "")],
        failed=1,
        kinds=[Kind(evil, 1, evil, evil)],
    )

    assert len(story.found) == 3
    for _, facts in story.found:
        assert facts["text"].isprintable()
        assert len(facts["text"]) < 700


def test_facts_say_how_the_run_stands() -> None:
    """What a notification needs is in each event."""
    facts = EventWatch(600.0).facts(Snapshot.from_wire({**START.to_wire(), "settled": 7, "total": 9, "failed": 1}))

    assert facts == {
        "target": "backfill.py", "state": "running", "settled": 7, "failed": 1, "total": 9, "elapsed": 0.0,
        "eta": None,
    }  # fmt: skip


def test_every_name_is_in_the_documents() -> None:
    """A name is what programs compare with; it must not change by accident."""
    assert [str(name) for name in EventName] == [
        "started", "resumed", "paused", "unpaused", "throttled", "unthrottled", "changed", "slave-joined",
        "slave-left", "slave-lost", "failure", "stalled", "budget", "state-unwritable", "state-writable", "finished",
        "stopped",
    ]  # fmt: skip
