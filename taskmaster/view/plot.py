"""Jobs a second over time: the points of a plot, and the plot as a picture without a script. Pure.

The picture is an SVG with presentation attributes only, because a policy that forbids styles, such
as that of Jenkins, leaves them alone. Its text has the colour of the page around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from taskmaster.redaction import clean

__all__ = ["Band", "Mark", "bands", "gaps", "picture", "points"]

MOST_POINTS = 300
SMOOTH_SECONDS = 2.0  # over which a rate is taken, at least: slaves report only twice a second, so that it would jump
PLOT_WIDTH, PLOT_HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 30
FLOOR = PLOT_HEIGHT - BOTTOM  # where a rate of 0 is
GAP_SECONDS = 30.0  # between two rows; where it is far more than before and after, no master was there
GAP_RATIO = 3.5
MOST_BANDS, MOST_MARKS = 200, 60
LONGEST_MARK_TEXT = 300  # characters of the text of a mark


class Band(NamedTuple):
    """A time in which the run was held back.

    Attributes:
        start: When it began (seconds since the epoch).
        end: When it ended (seconds since the epoch).
        reason: What held it, as one word.
    """

    start: float
    end: float
    reason: str


class Mark(NamedTuple):
    """A moment in which somebody has changed something.

    Attributes:
        at: Seconds since the epoch.
        text: What was changed, and by whom.
    """

    at: float
    text: str


def points(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return the points of the plot: time, jobs a second since the point before, failed jobs since
    then, what held the run, and the rate that was set.

    Args:
        rows: The rows of the run's history, oldest first: ``at``, and the sums ``settled`` and
            ``failed``.
    """
    step = max(1, -(-len(rows) // MOST_POINTS))
    kept = list(rows[::-step])[::-1]
    found, first = [], 0
    for number in range(1, len(kept)):
        row = kept[number]
        while first < number - 1 and row["at"] - kept[first + 1]["at"] >= SMOOTH_SECONDS:
            first += 1
        passed = row["at"] - kept[first]["at"]
        if passed <= 0:
            continue
        speed = max(0.0, (row["settled"] - kept[first]["settled"]) / passed)
        failed = max(0, row["failed"] - kept[number - 1]["failed"])
        found.append([round(row["at"], 1), round(speed, 3), failed, row.get("held") or "", row.get("rate_limit")])
    return found


def bands(found: Sequence[Sequence[Any]]) -> list[Band]:
    """Return the times in which the run was held back.

    Args:
        found: As ``points`` gives them.
    """
    result: list[Band] = []
    for before, point in pairwise([[found[0][0] if found else 0.0], *found]):
        reason = str(point[3] or "")
        if not reason:
            continue
        if result and result[-1].reason == reason and result[-1].end == before[0]:
            result[-1] = result[-1]._replace(end=point[0])
        else:
            result.append(Band(before[0], point[0], reason))
    return result


def gaps(found: Sequence[Sequence[Any]]) -> set[int]:
    """Return the numbers of the points before which the run did not go on for a while: between two
    sessions.

    Args:
        found: As ``points`` gives them.
    """
    steps = [after[0] - before[0] for before, after in pairwise(found)]
    wide = set()
    for number, step in enumerate(steps):
        beside = [*steps[max(0, number - 1) : number], *steps[number + 1 : number + 2]]
        if step >= GAP_SECONDS and beside and step > GAP_RATIO * max(beside):
            wide.add(number + 1)
    return wide


def picture(found: Sequence[Sequence[Any]], marks: Sequence[Mark], when: Callable[[float, float], str]) -> str:
    """Return the plot as an SVG; "" where there are too few points for one.

    Args:
        found: As ``points`` gives them.
        marks: The changes to mark.
        when: Shows a time of a plot of this length in seconds, in a few characters.
    """
    if len(found) < 2:  # a line has two ends
        return ""
    axes = _Axes(float(found[0][0]), float(found[-1][0]), _nice(max(float(point[1]) for point in found)))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" '
        f'width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" role="img" '
        'aria-label="Jobs a second over time; the table below has the numbers" '
        'font-size="14" font-family="sans-serif" fill="currentColor">'
    )
    parts = [opening]
    for band in bands(found)[:MOST_BANDS]:
        wide = max(1.0, float(axes.x(band.end)) - float(axes.x(band.start)))
        parts.append(
            f'<rect x="{axes.x(band.start)}" y="{TOP}" width="{_short(wide)}" height="{FLOOR - TOP}" fill="#d29922" '
            f'fill-opacity="0.3"><title>held back: {_text(band.reason)}</title></rect>'
        )
    parts += [*axes.rates(), *axes.times(when), *_lines(found, axes)]
    for mark in [one for one in marks if axes.first <= one.at <= axes.last][-MOST_MARKS:]:
        at = axes.x(mark.at)
        parts.append(f'<path d="M{at} {FLOOR - 12}l7 12h-14z" fill="#8957e5"><title>{_text(mark.text)}</title></path>')
    return "".join([*parts, "</svg>"])


class _Axes(NamedTuple):
    """The axes of a plot: where in it a time and a rate are.

    Attributes:
        first: The time of the first point.
        last: The time of the last one.
        top: The rate at the upper edge.
    """

    first: float
    last: float
    top: float

    @property
    def seconds(self) -> float:
        """Length of the axis of time."""
        return max(1.0, self.last - self.first)

    def x(self, at: float) -> str:
        """Return the x coordinate of a time, or that of the nearer end."""
        after = min(max(at, self.first), self.last) - self.first
        return _short(LEFT + after / self.seconds * (PLOT_WIDTH - LEFT - RIGHT))

    def y(self, rate: float) -> str:
        """Return the y coordinate of a rate."""
        return _short(TOP + (1 - min(1.0, rate / self.top)) * (FLOOR - TOP))

    def rates(self) -> Iterator[str]:
        """Yield the lines across the plot, with the rates that they stand for."""
        for fraction in (0.0, 0.5, 1.0):
            at, shown = self.y(fraction * self.top), _text(_compact(fraction * self.top))
            yield (
                f'<line x1="{LEFT}" x2="{PLOT_WIDTH - RIGHT}" y1="{at}" y2="{at}" stroke="currentColor" '
                'stroke-opacity="0.25"/>'
                f'<text x="{LEFT - 8}" y="{_short(float(at) + 5)}" text-anchor="end">{shown}</text>'
            )

    def times(self, when: Callable[[float, float], str]) -> Iterator[str]:
        """Yield the texts below the plot, each at its time."""
        for fraction, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            at = self.first + fraction * self.seconds
            shown = _text(when(at, self.seconds))
            yield f'<text x="{self.x(at)}" y="{PLOT_HEIGHT - 8}" text-anchor="{anchor}">{shown}</text>'


def _lines(found: Sequence[Sequence[Any]], axes: _Axes) -> list[str]:
    """Return the line of the rates, interrupted where there was no master, and the rate that was
    set.
    """
    wide, way, limits = gaps(found), [], []
    for number, point in enumerate(found):
        if number in wide:
            continue  # its rate is that of a time in which nothing was there
        before = number - 1
        begins = number == 0 or before in wide
        way.append(f"{'M' if begins else 'L'}{axes.x(point[0])} {axes.y(point[1])}")
        limit = point[4]
        if limit is not None and 0 < limit <= axes.top and not begins:
            limits.append(f"M{axes.x(found[before][0])} {axes.y(limit)}H{axes.x(point[0])}")
    parts = [f'<path d="{"".join(way)}" fill="none" stroke="#2f81f7" stroke-width="2" stroke-linejoin="round"/>']
    if limits:
        parts.append(f'<path d="{"".join(limits)}" fill="none" stroke="#b08800" stroke-dasharray="5 4"/>')
    return parts


def _nice(most: float) -> float:
    """Return a round number that is not below ``most``."""
    if not most > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next((one * power for one in (1, 1.5, 2, 3, 4, 6, 8) if one * power >= most), 10 * power)


def _compact(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:.4g}"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(value: str) -> str:
    return escape(clean(value)[:LONGEST_MARK_TEXT])
