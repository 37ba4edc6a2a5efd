"""The commands of ``tm-ctl`` that look at a run, with a master that answers as it is told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taskmaster.cli import looking
from taskmaster.cli.ctl import tm_ctl
from taskmaster.errors import ConnectError, UsageError
from taskmaster.transport.address import Address
from taskmaster.transport.client import Declined

SLAVE = {
    "name": "host:1", "state": "connected", "workers": 2, "busy_share": 0.5, "in_hand": 4, "done": 10, "failed": 1,
    "rate": 2.5, "p50": 0.001, "p95": 2.0, "heard_seconds": 0.5, "longest": "42", "longest_seconds": 61.0,
    "release": "1.0", "gone_at": None, "since_at": 0.0,
}  # fmt: skip
GONE = {"state": "lost", "gone_at": 5.0, "busy_share": None, "heard_seconds": None, "longest": ""}
LOST = {**SLAVE, "name": "host:2", **GONE}


def day_of(at: float) -> str:
    """The day in the zone of this process, which an earlier test may have set."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d")  # noqa: DTZ006  # as people read it here


EVENT = {"seq": 1, "at": 5.0, "event": "started", "text": "The run has started."}


class Master:
    """Gives the answers that it has, each as often as it is asked; a list of them, one by one."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def look(self, what: str, **arguments: Any) -> Any:
        """Answer, or raise what there is instead."""
        self.asked.append((what, arguments))
        answer = self.answers[what]
        if isinstance(answer, list) and what in ("events", "slaves"):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def status(self) -> dict[str, Any]:
        """Answer as ``tm-ctl status`` has it."""
        return dict(self.answers["status"])

    def trail(self, most: int) -> list[dict[str, Any]]:
        """Answer with the newest rows."""
        return list(self.answers["trail"])[-most:]

    def close(self) -> None:
        """There is no connection."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that runs a command against a master."""

    def call(master: Master, *words: str) -> Result:
        monkeypatch.setattr(looking, "client_of", lambda _: master)
        return CliRunner().invoke(tm_ctl, list(words), standalone_mode=False)

    return call


@pytest.mark.parametrize(("code", "exit_code"), [("workers", 0), ("paused", 1), ("slaves", 3), ("new", 0)])
def test_why_is_a_sentence_and_an_exit_code(run: Any, code: str, exit_code: int) -> None:
    """A reason that only a newer master knows is said all the same."""
    master = Master(status={"why": {"code": code, "sentence": "it is so", "cure": "Mend it."}})

    said = run(master, "why")
    assert said.output == "It is so. Mend it.\n"
    assert said.return_value == exit_code
    assert json.loads(run(master, "why", "--json").output)["why"]["code"] == code


def test_an_older_master_does_not_know_why(run: Any) -> None:
    """What it can say is named."""
    said = run(Master(status={}), "why")

    assert isinstance(said.exception, UsageError)
    assert "tm-ctl status" in str(said.exception)


def test_slaves_are_read_in_parts_and_those_that_have_gone_are_counted(run: Any) -> None:
    """--all lists them, too."""

    def pages() -> list[dict[str, Any]]:
        return [{"rows": [SLAVE], "slaves": 2, "gone_before": 3}, {"rows": [LOST], "slaves": 2, "gone_before": 3}]

    said = run(Master(slaves=pages()), "slaves").output
    assert "host:1  connected  2        50%   4" in said
    assert "42, 1m1s" in said
    assert "host:2" not in said
    assert said.endswith("4 others have gone (1 lost); --all lists them.\n")
    everything = run(Master(slaves=pages()), "slaves", "--all").output
    assert f"host:2  lost {day_of(5.0)}" in everything
    told = json.loads(run(Master(slaves=pages()), "slaves", "--json").output)
    assert [row["name"] for row in told["slaves"]] == ["host:1", "host:2"]
    assert told["gone_before"] == 3


def test_the_trail_has_its_newest_rows(run: Any) -> None:
    """Who changed it, as the client said; the master where nobody did."""
    row = {"seq": 1, "at": 5.0, "user": "ann", "host": "h", "via": "tm-ctl", "command": "pause", "before": "running",
           "after": "paused", "reason": "deploy"}  # fmt: skip
    rows = [{**row, "user": "", "host": "", "via": "master", "command": "started", "before": "", "reason": ""}, row]
    master = Master(trail=rows)

    last = run(master, "trail", "-n", "1").output.splitlines()
    assert len(last) == 2
    assert last[1].split()[2:] == ["ann@h", "pause", "running", "paused", "deploy"]
    assert " master " in run(master, "trail").output
    assert [json.loads(line)["command"] for line in run(master, "trail", "--json").output.splitlines()] == [
        "started",
        "pause",
    ]


def test_settings_say_where_they_come_from(run: Any) -> None:
    """And who changed them, of those that were changed while the run goes on."""
    rows = [
        {"name": "retries", "value": "5", "default": "3", "source": "live", "by": "ann@h", "at": 5.0},
        {"name": "size", "value": "10000", "default": "10000", "source": "default", "by": None, "at": None},
    ]
    master = Master(settings=rows)

    said = run(master, "settings").output
    assert f"retries  5      3        live     ann@h on {day_of(5.0)}" in said
    assert "size     10000  10000    default  -" in said
    assert json.loads(run(master, "settings", "--json").output)["settings"] == rows


def page(*events: dict[str, Any], forgotten: int = 0) -> dict[str, Any]:
    """A part of the events."""
    return {"rows": list(events), "forgotten": forgotten}


def test_events_are_listed_once(run: Any) -> None:
    """Until there are none; with --json an object each; what was forgotten between is said."""
    second = {**EVENT, "seq": 7, "event": "paused", "text": "ann has paused the run."}
    said = run(Master(events=[page(EVENT), page(second, forgotten=5), page()]), "events")

    assert [line.split()[2] for line in said.stdout.splitlines()] == ["started", "paused"]
    assert "5 events between are forgotten" in said.stderr
    told = run(Master(events=[page(EVENT), page()]), "events", "--json", "--since=0").output
    assert json.loads(told) == EVENT


def test_who_follows_waits_for_more_until_the_run_is_over(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question says which events are known already, and that somebody follows."""
    pauses: list[float] = []
    monkeypatch.setattr(looking.time, "sleep", pauses.append)
    end = {**EVENT, "seq": 2, "event": "finished", "text": "The run has finished."}
    master = Master(events=[page(EVENT), page(), page(end)])

    said = run(master, "events", "--follow")
    assert "finished" in said.output
    assert pauses == [looking.FOLLOW_SECONDS]
    assert [arguments["after"] for _, arguments in master.asked] == [0, 1, 1]
    assert len({arguments["follower"] for _, arguments in master.asked}) == 1


def test_a_master_that_is_gone_ends_the_following(run: Any) -> None:
    """One that was never there is an error, and so is one that cannot be asked for events."""
    said = run(Master(events=[page(EVENT), ConnectError("refused")]), "events", "--follow")
    assert said.exception is None
    assert "does not answer any more: refused" in said.stderr

    never = run(Master(events=[ConnectError("refused")]), "events", "--follow")
    assert isinstance(never.exception, ConnectError)
    older = run(Master(events=[page(EVENT), Declined(Address("h", 1), "no such thing")]), "events", "--follow")
    assert isinstance(older.exception, Declined)
