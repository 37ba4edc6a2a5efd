"""The picture of the results: ``python -m benchmarks.chart RESULTS.json CHART.png`` draws it
anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import click
import matplotlib as mpl

from benchmarks.plan import GOALS, TASKMASTER
from benchmarks.works import COMMON, KILOBYTE, MILLISECOND

mpl.use("agg")  # no screen is needed

__all__ = ["draw"]

COLOURS = {"W1": "#1f5a96", "W2": "#4f9bd6", "W3": "#f0a030"}
TITLES = {
    "W1": "no-op, a number",
    "W2": f"no-op, {KILOBYTE // 1024} KB",
    "W3": f"{MILLISECOND * 1000:.0f} ms of computing",
}
DETAILS = {
    "W3": "1 ms of computing",
    "W4": "slow jobs after fast ones",
    "W5": "one straggler",
    "W8": "50 ms jobs",
    "W9": "checkpoints",
    "W10": "coroutines",
}
REACHED, MISSED = "#3a8f5c", "#c0504d"


def draw(results: dict[str, Any], place: Path) -> None:
    """Write a PNG.

    Args:
        results: as they are in the JSON file.
        place: where.
    """
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7), width_ratios=(3, 2), layout="constrained")
    _draw_rates(left, results["samples"])
    _draw_shares(right, results)
    versions, machine = results["versions"], results["machine"]
    figure.suptitle("Taskmaster and its peers, two worker processes each", fontsize=14)
    figure.supxlabel(
        f"Taskmaster {versions['taskmaster']}, Python {versions['python']}, {machine['cpus']} CPUs, "
        f"{machine['processor']}, {results['date'][:10]}{'' if results['full'] else ', small numbers of jobs'}",
        fontsize=8, color="grey",
    )  # fmt: skip
    figure.savefig(place, dpi=120)
    plt.close(figure)


def _draw_rates(axes: Any, samples: list[dict[str, Any]]) -> None:
    """Jobs a second by peer, medians, with a line from the least to the most."""
    rates: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        if sample["work"] in COMMON:
            rates.setdefault(sample["peer"], {}).setdefault(sample["work"], []).append(sample["rate"])
    # The fastest at the top, by what they do most of.
    peers = sorted(rates, key=lambda peer: max(median(found) for found in rates[peer].values()))
    height = 0.8 / len(COMMON)
    for index, work in enumerate(COMMON):
        for row, peer in enumerate(peers):
            if found := rates[peer].get(work):
                at, middle = row + (1 - index) * height, median(found)
                error = [[middle - min(found)], [max(found) - middle]]
                axes.barh(at, middle, height, color=COLOURS[work], label=f"{work}: {TITLES[work]}", xerr=error,
                          error_kw={"elinewidth": 1, "ecolor": "#404040"})  # fmt: skip
                axes.text(max(found) * 1.12, at, _short(middle), va="center", fontsize=7)
    axes.set_xscale("log")
    axes.set_xlim(100, axes.get_xlim()[1] * 3)
    axes.set_yticks(range(len(peers)), peers)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == TASKMASTER else "normal")
    axes.set_xlabel("jobs a second, logarithmic: median, and from the least to the most")
    axes.set_title("Jobs a second")
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    axes.legend(known.values(), known.keys(), loc="lower right", fontsize=8)
    _tidy(axes)


def _draw_shares(axes: Any, results: dict[str, Any]) -> None:
    """What share of the ideal Taskmaster reaches, with marks at the goals."""
    shares: dict[tuple[str, str], list[float]] = {}
    for sample in results["samples"]:
        own = sample["peer"] == TASKMASTER or sample["work"] not in COMMON
        if own and "efficiency" in sample:
            shares.setdefault((sample["work"], sample["peer"]), []).append(sample["efficiency"])
    for outcome in results["goals"]:
        if outcome["work"] == "W9":
            shares["W9", "against a null store"] = [outcome["value"]]
    # The goals are for the full numbers of jobs.
    goals = {(goal.work, goal.peer): goal.share for goal in GOALS if goal.share is not None and results["full"]}
    ordered = sorted(shares, key=lambda at: int(at[0][1:]))[::-1]  # bars are stacked upwards
    for row, at in enumerate(ordered):
        middle, goal = median(shares[at]), goals.get(at)
        axes.barh(row, middle, 0.6, color=MISSED if goal is not None and middle < goal else REACHED)
        axes.text(0.02, row, f"{middle:.1%}", va="center", color="white", fontsize=9)
        if goal is not None:
            axes.plot([goal, goal], [row - 0.4, row + 0.4], color="black", linewidth=2)
    with_what = {at: "" if at[1] == TASKMASTER else f",\n{at[1]}" for at in ordered}
    labels = [f"{work}: {DETAILS.get(work, '')}{with_what[work, peer]}" for work, peer in ordered]
    axes.set_yticks(range(len(ordered)), labels, fontsize=9)
    axes.set_xlim(0, max(1.05, axes.get_xlim()[1]))
    axes.axvline(1.0, color="grey", linestyle=":")
    axes.set_xlabel("share of the ideal" + ("; black: the goal; red: missed" if goals else ""))
    axes.set_title("Taskmaster against the ideal")
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _short(number: float) -> str:
    """A number with three digits."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("place", type=click.Path(dir_okay=False, path_type=Path))
def main(results: Path, place: Path) -> None:
    """Draw the CHART of some RESULTS."""
    draw(json.loads(results.read_text()), place)


if __name__ == "__main__":
    main()
