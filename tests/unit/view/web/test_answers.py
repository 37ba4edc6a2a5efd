"""What the page is told: cleaned, bounded, and plain JSON."""

from __future__ import annotations

import json

import pytest

from taskmaster.view.status import Rate
from taskmaster.view.web.answers import MOST_ANSWER_BYTES, as_bytes, cleaned, status_answer

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


def test_a_command_is_whole_or_not_there():
    """Somebody copies it: without its last words, it would be the command of another run."""
    whole = "tm-run backfill.py " + "since=2024-01-01 " * 100
    found = cleaned({"resume": whole, "page": {"slave_command": whole, "resume": "x" * 5000}})

    assert found == {"resume": whole, "page": {"slave_command": whole, "resume": ""}}


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

    assert len(found) <= MOST_ANSWER_BYTES
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
