"""Two figures over time, as an SVG picture: what others feel, and how fast the run is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

__all__ = ["Panel", "draw"]

WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 230, 60, 34, 20
FELT, ROWS, LIMIT = "#c0504d", "#1f5a96", "#808080"


class Panel(NamedTuple):
    """One story.

    Attributes:
        title: Above it.
        felt: Seconds, and milliseconds that the foreground took.
        rows: Seconds, and rows a second.
        limit: Milliseconds that are allowed.
    """

    title: str
    felt: Sequence[tuple[float, float]]
    rows: Sequence[tuple[float, float]]
    limit: float


def draw(panels: Sequence[Panel], place: Path) -> None:
    """Write the panels, one below the other."""
    whole = HEIGHT * len(panels) + GAP
    form = f'viewBox="0 0 {WIDTH} {whole}" font-size="12" font-family="sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {form}>',
        f'<rect width="{WIDTH}" height="{whole}" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {index * HEIGHT})">', *_panel(panel), "</g>"]
    place.write_text("\n".join([*parts, "</svg>", ""]), "utf-8")


def _panel(panel: Panel) -> list[str]:
    end = max(at for at, _ in (*panel.felt, *panel.rows))
    # A single second that is far out would make a line on the ground of all others.
    most = 1.3 * max(2 * panel.limit, sorted(value for _, value in panel.felt)[int(0.97 * len(panel.felt))])
    fastest = 1.2 * max([value for _, value in panel.rows] + [1.0])
    right, bottom = WIDTH - LEFT, HEIGHT - GAP
    limit = bottom - panel.limit / most * (bottom - TOP)
    legend = (
        f'<tspan fill="{FELT}">p95 of pgbench, up to {most:.0f} ms</tspan>  '
        f'<tspan fill="{LIMIT}">limit {panel.limit:.1f} ms</tspan>  '
        f'<tspan fill="{ROWS}">rows a second, up to {fastest:,.0f}</tspan>'
    )
    parts = [
        f'<text x="{LEFT}" y="16" font-size="14">{escape(panel.title)}</text>',
        f'<text x="{right}" y="16" text-anchor="end">{legend}</text>',
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}V{TOP}" fill="none" stroke="#404040"/>',
        f'<path d="M{LEFT} {limit:.1f}H{right}" stroke="{LIMIT}" stroke-dasharray="6 4"/>',
    ]
    for values, top, colour in ((panel.rows, fastest, ROWS), (panel.felt, most, FELT)):
        known = [(at, value) for at, value in values if not math.isnan(value)]
        points = " ".join(
            f"{LEFT + at / end * (right - LEFT):.1f},{max(TOP, bottom - value / top * (bottom - TOP)):.1f}"
            for at, value in known
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for second in range(0, int(end) + 1, 10):
        x = LEFT + second / end * (right - LEFT)
        parts.append(f'<text x="{x:.0f}" y="{bottom + 14}" text-anchor="middle" fill="#404040">{second} s</text>')
    return parts
