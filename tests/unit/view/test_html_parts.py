"""Pieces of HTML: whatever a text holds, it stays a text."""

from __future__ import annotations

import pytest

from taskmaster.view.html_parts import Raw, bar, brief, code, duration, left_out, pairs, table, text

HOSTILE = ["<script>alert(1)</script>", '" onload="x', "\u202egnp.exe", "\x1b[2J", "a\x00b", "\ud800", "x" * 10_000]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_no_text_is_markup_or_moves_anything(hostile: str) -> None:
    """Neither between tags nor in an attribute, and none is long."""
    found = "".join([code(hostile), pairs([(hostile, hostile)]), table([hostile], [[hostile]])])

    assert "<script" not in found
    assert 'onload="' not in found
    assert found.replace("\n", "").isprintable()
    assert len(text(hostile)) <= 600


def test_what_is_markup_already_stays_markup() -> None:
    """A bar in a cell is drawn; a name without a value is left out."""
    assert bar(0.5) in table(["a"], [[Raw(bar(0.5))]])
    assert "gone" not in pairs([("gone", ""), ("there", "x")])
    assert left_out(0, "kind") == ""
    assert "1 kind more" in left_out(1, "kind")


def test_durations_are_in_two_units_at_most() -> None:
    """From microseconds to days; what is not known is a dash."""
    assert [duration(one) for one in (0.25, 59, 61, 3600, 90_000)] == [
        "0.25 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "1 d 1 h",
    ]
    assert [brief(one) for one in (2e-6, 0.0045, 3.25, 75.0, None)] == [
        "2 \N{MICRO SIGN}s", "4.5 ms", "3.25 s", "1 min 15 s", "\N{EN DASH}",
    ]  # fmt: skip
