"""Pieces of HTML of texts from anywhere, each cleaned, cut and escaped; and durations. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from taskmaster.redaction import clean
from taskmaster.units import show_count

__all__ = ["DASH", "LONGEST_CELL", "Raw", "bar", "brief", "code", "duration", "left_out", "pairs", "table", "text"]

DASH = "\N{EN DASH}"

LONGEST_CELL, LONGEST_COMMAND = 500, 4000  # characters
BAR_WIDTH = 160
SHORT_CELL_CHARACTERS = 20  # characters of a cell that is not broken into lines


class Raw(str):
    """A text that is markup already."""

    __slots__ = ()


def text(value: Any, most: int = LONGEST_CELL) -> str:
    """Return a value as text between two tags, or in an attribute."""
    said = clean(str(value)[: most + 1])
    return escape(said if len(said) <= most else said[: most - 1] + "\N{HORIZONTAL ELLIPSIS}")


def code(command: Any) -> str:
    """Return a command to be copied."""
    return f"<pre><code>{text(command, LONGEST_COMMAND)}</code></pre>\n"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Return names with their values; those without a value are left out."""
    cells = "".join(
        f'<tr><th scope="row" align="left">{text(name)}</th><td>{text(value)}</td></tr>\n'
        for name, value in rows
        if value
    )
    return f'<table class="pairs" cellpadding="4">\n{cells}</table>\n'


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table; each cell has the name of its column, for screens without room for a head."""
    top = "".join(f'<th scope="col" align="left">{text(name)}</th>' if name else "<td></td>" for name in head)
    lines = (
        "<tr>"
        + "".join(
            f'<td data-of="{text(name)}"{_kept(cell)}>{cell if isinstance(cell, Raw) else text(cell)}</td>'
            for name, cell in zip(head, row, strict=True)
        )
        + "</tr>\n"
        for row in body
    )
    opening = '<table class="rows" border="1" cellpadding="4" cellspacing="0">\n'
    return f"{opening}<thead><tr>{top}</tr></thead>\n<tbody>\n{''.join(lines)}</tbody></table>\n"


def _kept(cell: str) -> str:
    """Return what keeps a number or a moment in one line."""
    return ' class="short"' if len(cell) <= SHORT_CELL_CHARACTERS else ""


def left_out(number: Any, noun: str) -> str:
    """Return a paragraph that says how many are not shown; "" for none."""
    return f"<p>{show_count(int(number), noun, form=',')} more not shown here.</p>\n" if number else ""


def bar(fraction: float) -> str:
    """Return a bar of a chart, from 0 to 1 of its width."""
    width = max(1, round(BAR_WIDTH * fraction))
    filled = f'<rect width="{width}" height="12" fill="#2f81f7"/>'
    return f'<svg width="{BAR_WIDTH}" height="12" aria-hidden="true">{filled}</svg>'


_LARGER: tuple[tuple[float, Callable[[float], str]], ...] = (
    (86_400, lambda s: f"{s // 86_400:,.0f} d {s % 86_400 // 3600:.0f} h"),
    (3600, lambda s: f"{s // 3600:.0f} h {s % 3600 // 60:.0f} min"),
    (60, lambda s: f"{s // 60:.0f} min {s % 60:.0f} s"),
)


def duration(seconds: float) -> str:
    """Return a duration as people read it, in two units at most."""
    whole = float(round(max(0.0, seconds)))
    return next((show(whole) for size, show in _LARGER if whole >= size), f"{seconds:.3g} s")


def brief(seconds: float | None) -> str:
    """Return a duration that may be very short; a dash where it is not known."""
    if seconds is None:
        return DASH
    if seconds >= 60:  # a minute
        return duration(seconds)
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} \N{MICRO SIGN}s"
