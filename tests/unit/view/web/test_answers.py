"""What the page is told: cleaned, bounded, and plain JSON."""

from __future__ import annotations

import json

import pytest

from taskmaster.view.status import Rate
from taskmaster.view.web.answers import MAX_BYTES, as_bytes, cleaned, points, status_answer

HOSTILE = [
    "<script>alert(1)</script>", "\u202egnp.exe", "\x1b[2J\x1b[31mred", "a\x00b",
    "\u2066x\u2069", "\ud800", "x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_texts_are_shown_as_they_are_but_for_what_moves_and_turns(text):
    """Markup stays text; control and bidirectional characters become a question mark; what is long
    is cut.
    """
    found = cleaned({"key": text, text: 1, "list": [text]})

    for shown in (found["key"], *found["list"], *found):
        assert shown.isprintable()
        assert len(shown) <= 300
    assert "<script>" in cleaned("<script>")


def test_a_traceback_keeps_its_lines_and_its_end():
    """Where it was raised is at the end of a traceback."""
    found = cleaned({"traceback": "first\n" * 3000 + "File x\x1b\nValueError: y"})["traceback"]

    assert found.endswith("File x?\nValueError: y")
    assert len(found) <= 4000


def test_numbers_are_numbers_of_json():
    """What is no number is null."""
    found = as_bytes({"rates": cleaned([float("nan"), float("inf"), -float("inf"), 1.5, 3, True, None])})

    assert json.loads(found) == {"rates": [None, None, None, 1.5, 3, True, None]}


def test_an_answer_is_bounded():
    """Thousands of slaves and kinds with long texts make no answer above the limit."""
    row = {"name": "ü" * 300, "message": "m" * 300, "traceback": "t" * 4000}
    page = {"slaves": [row] * 40, "trail": [row] * 60}
    answer = {"run": "r", "kinds": [row] * 20, "settings": [row] * 40, "page": page}

    found = as_bytes(cleaned(answer))

    assert len(found) <= MAX_BYTES
    assert json.loads(found)["run"] == "r"
    assert len(json.loads(found)["page"]["slaves"]) > 3


def test_a_status_of_any_release_is_shown():
    """Fields that a master does not know are absent or null, and those that this release does not
    know are passed on.
    """
    found = status_answer({"run": "r", "state": "new-state", "fancy": 1}, Rate(), {"trouble": ""})

    assert found["run"] == "r"
    assert found["state"] == "new-state"
    assert found["fancy"] == 1
    assert found["page"] == {"trouble": ""}
    assert status_answer(None, Rate(), {"trouble": "gone"}) == {"page": {"trouble": "gone"}}


def row(at: float, settled: int, **more) -> dict:
    """A row of the history."""
    return {"at": at, "settled": settled, "failed": 0, **more}


def test_points_are_rates():
    """A point has the jobs a second of the seconds before it, what held the run, and the rate that
    was set.
    """
    rows = [row(second, 10 * second, held="paused" if second > 8 else "", rate_limit=20) for second in range(11)]

    found = points(rows)

    assert [one[1] for one in found] == [10.0] * 10
    assert [one[3] for one in found][-3:] == ["", "paused", "paused"]
    assert found[-1][4] == 20


def test_points_are_few_and_end_with_the_newest():
    """Hours of seconds become a few hundred points, the newest among them."""
    found = points([row(float(second), second) for second in range(20_000)])

    assert 100 < len(found) <= 300
    assert found[-1][0] == 19_999.0
    assert {one[1] for one in found} == {1.0}


def test_points_bear_a_clock_that_was_set_back_and_a_new_session():
    """No rate is negative or infinite."""
    found = points([row(10, 100), row(5, 110), row(6, 0), row(6, 5), row(7, 9)])

    assert all(one[1] >= 0 for one in found)
