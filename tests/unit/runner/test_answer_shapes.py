"""Answers of a master of another version, or of what only says that it is one: whatever they hold,
``tm-ctl`` shows them or says in a sentence what came and what to do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from taskmaster.cli.ctl import tm_ctl
from taskmaster.errors import TaskmasterError
from taskmaster.runner import control
from taskmaster.runner.answer_shapes import readable
from taskmaster.runner.steer_client import SteerClient
from taskmaster.transport.address import Address

MOMENT = 1_796_016_498.4
TEXTS = ("command", "user", "host", "peer", "via", "reason", "before", "after")
WHY = {"code": "workers", "sentence": "nothing holds it", "cure": "More workers.", "since_at": MOMENT}
STATUS = {
    "run": "06aa", "target": "jobs.py", "state": "running", "reason": "", "settled": 20, "failed": 1, "elapsed": 5.0,
    "settled_here": 20, "total": None, "queued": 10, "leased": 6, "parked": 0, "waiting": 0, "skipped": 0, "slaves": 1,
    "workers": 2, "batch": 9, "batch_reason": "0.5 s of work", "watermark": "17", "address": "h:1", "share": None,
    "share_here": 0.0, "why": WHY, "working": 4.0, "rates": {"10s": 4.0, "session": 4.0}, "release": "0.9.7",
    "eta_detail": {"seconds": None, "if_resumed": False}, "incarnation": "06aa.1", "trail": 1, "trail_saved": 1,
    "settled_by_outcome": {"done": 19, "failed": 1, "skipped": 0}, "attempts_failed": {"exception": 1},
    "clock": {"started_at": MOMENT, "session_at": MOMENT, "run_seconds": 5.0}, "at": MOMENT + 5,
    "job_seconds": {"p50": 0.1, "p95": 0.2}, "holder": {"key": "18", "seconds": 0.1}, "hold": None,
}  # fmt: skip
SLAVE = {
    "name": "web:1", "workers": 2, "state": "at work", "gone_at": None, "in_hand": 6, "done": 19, "failed": 1,
    "rate": 4.0, "busy_share": 0.9, "p50": 0.1, "p95": 0.2, "longest": "18", "longest_seconds": 0.1,
    "heard_seconds": 0.2, "since_at": MOMENT, "release": "1.0.0", "python": "3.11.7",
}  # fmt: skip
KIND = {"type": "E", "where": "a.py:1", "count": 1, "first_at": MOMENT, "last_at": MOMENT, "key": "7", "message": "m",
        "traceback": "t"}  # fmt: skip
EVENT = {"at": MOMENT, "event": "failed", "text": "a job has failed", "seq": 1}
SETTING = {"name": "retries", "value": "3", "default": "3", "source": "default", "by": None, "at": None}
COLUMNS = ["at", "settled", "failed", "queued", "held", "rate_limit"]
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "slaves": {"rows": [SLAVE], "slaves": 1, "gone_before": 0},
    "trail": {"rows": [{**dict.fromkeys(TEXTS, "x"), "seq": 1, "at": MOMENT}], "saved": 1},
    "settings": [SETTING],
    "events": {"rows": [EVENT], "forgotten": 0, "last": 1},
    "kinds": {"rows": [KIND], "kinds": 1, "others": 0},
    "history": {"columns": COLUMNS, "held": ["", "paused"], "rows": [[MOMENT, 1, 0, 10, 0, None]], "seq": 1, "left": 0},
    "failures": [[1, "7", "7", [[MOMENT, "web:1", "E", "m", "t", False]]]],
    "steer": {"ok": True, "changed": True, "before": "a", "after": "b", "trail": 1, "say": "It is so."},
}
ODD = (
    None, True, -1, 2**63, 10**30, 10**400, 1e300, math.nan, math.inf, "", "x", "\x1b[2J", "\ud800", "9" * 300,
    b"bytes", [], [1], {}, {"a": 1}, (), [[]], {"rows": []}, [None], 0.5, "nan",
)  # fmt: skip
COMMANDS = (
    "status", "status --json", "why", "slaves --all", "slaves --json", "trail", "trail --json", "settings", "events",
    "failures -v", "failures --json", "failures --csv", "note hi", "rate off --no-watch", "report", "report --json",
)  # fmt: skip


class OddMaster:
    """A connection to a master that answers one kind of question oddly."""

    address = Address("h", 1)

    def __init__(self, asked: str, answer: Any) -> None:
        self._answers = {**ANSWERS, asked: answer}

    def call(self, method: str, *arguments: Any) -> Any:
        what = arguments[0] if method == "look" else method
        given = arguments[1] if method == "look" else {"after": arguments[0]} if method == "failures" else {}
        if given.get("after") or given.get("before") or given.get("since_seq"):
            what = ""  # there is one page of everything
        return self._answers.get(what, [] if method == "failures" else {"rows": []})

    def close(self) -> None:
        pass


def changed(value: Any, odd: Any, path: tuple[Any, ...]) -> Any:
    """A copy of an answer with one part replaced; left out, if ``odd`` is the class itself."""
    if not path:
        return odd
    at, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {
            name: changed(part, odd, rest) if name == at else part
            for name, part in value.items()
            if name != at or rest or odd is not OddMaster
        }
    return [changed(part, odd, rest) if number == at else part for number, part in enumerate(value)]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from paths(part, (*path, name))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_odd_answer_is_shown_or_is_a_sentence(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command ends with an error of Python's, whichever part of which answer is odd."""
    chance = random.Random(command)  # the same ones each time
    monkeypatch.setattr(control, "BUSY_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(SteerClient.wait_written, "__defaults__", (0.0,))
    for what, answer in ANSWERS.items():
        for path in paths(answer):
            for odd in (OddMaster, *chance.sample(ODD, 2)):
                wrong = changed(answer, None if odd is OddMaster and not path else odd, path)
                monkeypatch.setattr(control, "connect", lambda *_: OddMaster(what, wrong))  # noqa: B023
                result = CliRunner().invoke(tm_ctl, [*command.split(), "--host=h:1", "--key=k"])
                fine = result.exception is None or isinstance(result.exception, SystemExit | TaskmasterError)
                assert fine, (what, path, odd, result.exception)


@pytest.mark.parametrize("what", ANSWERS)
def test_what_a_master_answers_today_is_read(what: str) -> None:
    """With what later versions add."""
    answer = ANSWERS[what]
    more = {**answer, "later": [1, {"a": None}]} if isinstance(answer, dict) else answer
    assert readable(what, more, "h:1") is more


def test_the_sentence_says_what_came_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the version of the master, where it has told that."""
    status = {**STATUS, "why": "workers"}  # as an older master has it
    wrong = changed(ANSWERS["slaves"], "many\x1b[2J", ("rows", 0, "done"))
    monkeypatch.setattr(control, "connect", lambda *_: OddMaster("slaves", wrong))
    monkeypatch.setitem(ANSWERS, "status", status)
    result = CliRunner().invoke(tm_ctl, ["slaves", "--host=h:1", "--key=k"])

    assert isinstance(result.exception, TaskmasterError)
    assert result.exception.exit_code == 6
    said = str(result.exception)
    assert "The master at h:1 has answered what Taskmaster " in said
    assert "slaves.rows[0].done is 'many" in said
    assert "and not a number. It runs Taskmaster 0.9.7: install the same version on both machines" in said
    assert said.isprintable()
