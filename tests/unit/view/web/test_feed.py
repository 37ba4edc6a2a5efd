"""What the page knows of a run, and how seldom it asks for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from taskmaster.errors import ConnectError
from taskmaster.transport.line import LineRefused
from taskmaster.view.web.feed import Feed

COLUMNS = ["at", "settled", "failed", "held", "rate_limit"]


class FakeMaster:
    """Answers as a master does, counts what it is asked, and may be gone."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.gone = False
        self.unknown: set[str] = set()
        self.refuses: dict[str, str] = {}
        self.status: dict[str, Any] = {
            "run": "r", "state": "running", "elapsed": 10.0, "settled_here": 5, "settled": 5, "failed": 0, "trail": 1,
        }  # fmt: skip
        self.history: dict[str, list[list[Any]]] = {"10m": [], "6h": [], "all": []}
        self.trail = [{"seq": 1, "command": "started", "at": 1.0}]
        self.tokens: list[str | None] = []

    def ask(self, method: str, *arguments: Any, token: str | None = None) -> Any:
        what = arguments[0] if method == "look" else method
        self.asked[what] += 1
        if self.gone:
            raise ConnectError("The master does not answer any more.")
        if what in self.unknown:
            raise LineRefused(f"ValueError: there is nothing called {what!r} to look at here", forbidden=False)
        if what in self.refuses:
            raise LineRefused(self.refuses[what], forbidden=False)
        if method == "steer":
            self.tokens.append(token)
            return {"ok": True, "say": "done \x1b"}
        found: dict[str, Any] = {
            "status": self.status,
            "kinds": {"rows": []},
            "slaves": {"rows": [{"name": "a:1"}], "slaves": 1, "gone_before": 0},
            "settings": [{"name": "size"}],
        }
        if what == "trail":
            return {"rows": [row for row in self.trail if row["seq"] > arguments[1]["after"]]}
        if what == "history":
            since, rows = arguments[1]["since_seq"], self.history[arguments[1]["span"]]
            since = since if since <= len(rows) else 0
            new = rows[since : since + 2]
            left = len(rows) - since - len(new)
            return {"columns": COLUMNS, "held": ["", "paused"], "rows": new, "seq": since + len(new), "left": left}
        return found[what]


class World:
    """A feed, its master, and the time."""

    def __init__(self) -> None:
        self.master = FakeMaster()
        self.now = 1000.0
        self.feed = Feed(self.master, {"resume": "tm-run x.py"}, lambda: self.now)

    def answer(self) -> dict[str, Any]:
        """What somebody who steers is told now."""

        async def ask() -> dict[str, Any]:
            await self.feed.fresh()
            return self.feed.answer(steers=True)

        return asyncio.run(ask())


@pytest.fixture
def world() -> World:
    """A feed of a master that answers."""
    return World()


def test_many_browsers_are_one(world):
    """What was asked a moment ago is not asked again; a second later, it is."""
    for _ in range(20):
        found = world.answer()
    assert world.master.asked["status"] == 1
    assert found["run"] == "r"
    assert found["page"]["slaves"] == [{"name": "a:1"}]
    assert found["page"]["resume"] == "tm-run x.py"

    world.now += 1
    world.answer()

    assert world.master.asked["status"] == 2
    assert world.master.asked["trail"] == 1  # there is nothing new in it


def test_slaves_in_another_order_are_asked_for_once_by_many_browsers(world):
    """A second later, anew; and what is kept of it is bounded."""

    async def ask(sort: str, after: int) -> dict[str, Any]:
        return await world.feed.slaves(sort, after)

    for _ in range(5):
        assert asyncio.run(ask("rate", 40)) == {"slaves": [{"name": "a:1"}], "known": 1}
    assert world.master.asked["slaves"] == 1
    world.now += 1
    for number in range(50):
        asyncio.run(ask(f"order {number}", 0))
    assert world.master.asked["slaves"] == 51
    assert len(world.feed._sorted) <= 16


def test_a_report_is_of_what_is_known(world):
    """Before the master has answered, while the run goes on, and when it is over."""

    async def ask(fresh: bool) -> str:
        if fresh:
            await world.feed.fresh()
        return (await world.feed.report()).decode()

    world.master.unknown.add("slaves")
    assert "the master has not answered yet" in asyncio.run(ask(False))
    world.master.status = {**world.master.status, "target": "<b>x.py", "why": {"sentence": "nothing holds it"}}
    shown = asyncio.run(ask(True))
    for part in ("running", "&lt;b&gt;x.py", "Nothing holds it", "tm-run x.py"):
        assert part in shown
    world.master.gone = True
    world.now += 5
    assert "The master does not answer any more" in asyncio.run(ask(True))
    world.feed.end({**world.master.status, "state": "finished", "failed": 2, "exit_code": 3})
    assert "Exit code 3" in asyncio.run(ask(False))


def test_nobody_looks_and_nothing_is_asked(world):
    """A page that nobody looks at costs the master nothing."""
    assert not world.master.asked


def test_a_master_that_is_gone_is_said_and_comes_back(world):
    """What it said last is kept, with the time of that, and is replaced when it answers again."""
    world.answer()
    world.master.gone = True
    world.now += 5
    found = world.answer()
    assert "does not answer" in found["page"]["trouble"]
    assert found["settled"] == 5
    assert found["page"]["seen_at"] == 1000.0
    assert world.feed.gone

    world.master.gone = False
    world.master.status = {**world.master.status, "settled": 9, "elapsed": 1.0}
    world.now += 1

    assert world.answer()["settled"] == 9
    assert not world.feed.gone


def test_a_master_that_knows_less_is_shown_all_the_same(world):
    """What an older master cannot be asked for is asked once, and left out."""
    world.master.unknown = {"slaves", "trail", "history"}
    for _ in range(3):
        found = world.answer()
        points = asyncio.run(world.feed.history("10m"))
        world.now += 1
    assert found["run"] == "r"
    assert found["page"]["slaves"] == []
    assert [world.master.asked[what] for what in ("slaves", "trail", "history")] == [1, 1, 1]
    assert points["kept"] is False


def test_what_the_master_does_not_give_is_said(world):
    """With its reason, until it gives it again: an empty part would be taken for none."""
    world.master.refuses = {"slaves": "RuntimeError: a fault", "settings": "ValueError: another"}
    assert world.answer()["page"]["refused"] == {"slaves": "RuntimeError: a fault"}
    report = asyncio.run(world.feed.report()).decode()
    assert "The master does not give what this shows of: slaves (RuntimeError: a fault); settings (" in report

    world.master.refuses = {}
    world.master.unknown = {"trail"}
    world.master.status = {**world.master.status, "trail": 2}
    world.now += 1
    refused = world.answer()["page"]["refused"]
    assert refused["trail"] == "it runs an older Taskmaster, which does not have that"
    assert "slaves" not in refused


def test_an_answer_without_sense_is_trouble_that_is_said(world):
    """And not an error that nobody sees, behind a page that stays as it was."""
    world.master.status = {**world.master.status, "elapsed": "long"}
    trouble = world.answer()["page"]["trouble"]

    assert trouble.startswith("What the master has answered cannot be shown: TypeError")


def test_without_a_history_the_page_s_own_samples_are_plotted(world):
    """The rate is that between two looks."""
    world.master.unknown = {"history"}
    for number in range(5):
        world.master.status = {**world.master.status, "settled": 10 * number, "elapsed": 10.0 + number}
        world.answer()
        world.now += 1

    found = asyncio.run(world.feed.history("10m"))

    assert [point[1] for point in found["points"]] == [10.0] * 4


def test_the_history_is_read_to_its_end_and_once(world):
    """What the master keeps is read in pages, and later only what is new."""
    world.master.history["6h"] = [[float(at), at, 0, 1 if at > 7 else 0, None] for at in range(10)]

    found = asyncio.run(world.feed.history("6h"))["points"]
    assert len(found) == 9
    assert found[-1][3] == "paused"
    asked = world.master.asked["history"]
    asyncio.run(world.feed.history("6h"))

    assert world.master.asked["history"] == asked + 1


def test_ten_minutes_go_on_across_a_restart(world):
    """What the state has of the minutes before is put before the seconds of this session."""
    world.master.history["10m"] = [[2000.0 + at, 5000 + at, 0, 0, None] for at in range(10)]
    world.master.history["6h"] = [[at, int(at), 0, 0, None] for at in (1000.0, 1500.0, 1560.0, 1620.0, 2000.0)]

    found = asyncio.run(world.feed.history("10m"))["points"]

    assert [point[0] for point in found][:3] == [1500.0 + 60, 1620.0, 2000.0]
    assert found[-1][0] == 2009.0


def test_a_history_that_begins_anew_replaces_the_former(world):
    """A master of a new session counts from one again."""
    world.master.history["all"] = [[float(at), at, 0, 0, None] for at in range(6)]
    asyncio.run(world.feed.history("all"))
    world.master.history["all"] = [[100.0 + at, 10 * at, 0, 0, None] for at in range(3)]

    found = asyncio.run(world.feed.history("all"))["points"]

    assert [point[0] for point in found] == [101.0, 102.0]


def test_another_session_s_history_is_read_from_its_beginning(world):
    """A master that was started again may have counted further than the one before."""
    world.master.status["incarnation"] = "r.1"
    world.answer()
    world.master.history["all"] = [[float(at), at, 0, 0, None] for at in range(3)]
    asyncio.run(world.feed.history("all"))
    world.master.history["all"] = [[100.0 + at, 10 * at, 0, 0, None] for at in range(8)]
    world.master.status = {**world.master.status, "incarnation": "r.2"}
    world.now += 1
    world.answer()

    found = asyncio.run(world.feed.history("all"))["points"]

    assert [point[0] for point in found] == [101.0 + at for at in range(7)]


def test_the_trail_is_that_of_the_run_that_is_shown(world):
    """Where another run has taken its place, whose rows have smaller numbers."""
    world.master.trail = [{"seq": number, "command": "note"} for number in range(1, 9)]
    world.master.status["trail"] = 8
    assert len(world.answer()["page"]["trail"]) == 8
    world.master.status = {**world.master.status, "run": "r2", "incarnation": "r2.1", "trail": 1}
    world.master.trail = [{"seq": 1, "command": "started"}]
    for _ in range(2):
        world.now += 5
        found = world.answer()

    assert found["page"]["trail"] == [{"seq": 1, "command": "started"}]


def test_a_command_carries_its_token_and_is_seen_at_once(world):
    """The master is shown the token of whoever asks, and asked anew for the status after that."""
    world.answer()

    said = asyncio.run(world.feed.steer({"command": "pause"}, "token"))

    assert world.master.tokens == ["token"]
    assert said == {"ok": True, "say": "done ?"}
    world.answer()
    assert world.master.asked["status"] == 2


def test_the_end_is_the_last_word(world):
    """After the end, nothing is asked, nobody steers, and what was said last is shown."""
    world.answer()
    world.feed.end({**world.master.status, "state": "finished"})
    world.now += 60
    found = world.answer()

    assert world.master.asked["status"] == 1
    assert found["state"] == "finished"
    assert found["page"]["over"] is True
    assert found["page"]["steers"] is False


@pytest.mark.parametrize(("looks", "waits"), [(True, True), (False, False)])
def test_only_a_browser_that_looks_is_waited_for_at_the_end(world, looks, waits):
    """What reads metrics, or asks whether the page is well, sees no end."""

    async def end() -> bool:
        await world.feed.fresh(looks=looks)
        waiting = asyncio.create_task(world.feed.seen())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended = waiting.done()
        waiting.cancel()
        return not ended

    assert asyncio.run(end()) == waits
