"""Run the proofs at their full size, and put their figures in one table: ``make prove``.

``--small`` plays them at the size of ``make check``, ``--only NAME`` those whose name contains it,
``--lanes N`` so many at a time, and ``--write PATH`` puts the report into a file, as
reStructuredText. ``--resume`` leaves out what has passed since the last time without it, at the
same size, and keeps its figures: the whole takes hours. The exit code is 0 if all have passed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "build" / "prove" / "figures"
COLUMNS = ("what was tried", "tried", "survived", "jobs lost", "jobs repeated", "bound", "longest stall")


def merged(figures: list[dict]) -> list[dict]:
    """One row for all parts of a proof: they have the same name."""
    found: dict[str, dict] = {}
    for one in figures:
        row = found.setdefault(one["name"], {**one, "tried": 0, "survived": 0, "lost": 0})
        if row["tried"] and one["repeated"] is not None:
            row["repeated"] += one["repeated"]
        for key in ("tried", "survived", "lost"):
            row[key] += one[key]
    return list(found.values())


def rows(figures: list[dict]) -> list[list[str]]:
    """The table, a row for each proof."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,}"

    found = [list(COLUMNS)]
    for one in figures:
        stall = "" if one["stall"] is None else f"{one['stall']:.1f} s"
        found.append(
            [one["name"], *(number(one[key]) for key in ("tried", "survived", "lost", "repeated", "bound")), stall]
        )
    return found


def as_rst(table: list[list[str]], conditions: str) -> str:
    """The report that is kept in ``docs/``."""
    lines = ["What make prove printed", "=" * 23, "", conditions, "", ".. list-table::", "   :header-rows: 1", ""]
    for row in table:
        lines += [f"   {'*' if index == 0 else ' '} - {cell}".rstrip() for index, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def as_text(table: list[list[str]]) -> str:
    """For the terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)


def proofs(only: str, environment: dict[str, str]) -> list[str]:
    """The names of all proofs, as pytest knows them; a large one has more parts."""
    words = [sys.executable, "-m", "pytest", "-m", "proof", "--collect-only", "-q", *(["-k", only] if only else [])]
    listed = subprocess.run(words, cwd=ROOT, env=environment, check=False, capture_output=True, text=True).stdout
    found = [line for line in listed.splitlines() if "::" in line]
    if not found:
        sys.exit(f"No proof is called {only!r}:\n{listed}")
    return found


def prove(name: str, environment: dict[str, str]) -> bool:
    """Run one proof, and show what it printed if it fails. What has passed has a file of its own,
    with its figures.
    """
    size = "full" if environment["TASKMASTER_PROVE"] else "small"
    figures = FIGURES / size / f"{name.rpartition('::')[2]}.jsonl"
    if figures.exists():
        print(f"passed before: {name}", flush=True)
        return True
    unfinished = figures.with_suffix(".unfinished")
    unfinished.write_text("", "utf-8")
    environment = {**environment, "TASKMASTER_PROOFS": str(unfinished)}
    # pytest's own limit ends what takes minutes; each proof has one that suits it.
    words = [sys.executable, "-m", "pytest", name, "-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=0"]
    began = time.monotonic()
    ended = subprocess.run(words, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    good = ended.returncode == 0 and " passed" in ended.stdout
    print(f"{'passed' if good else 'FAILED'} in {time.monotonic() - began:.0f} s: {name}", flush=True)
    if good:
        unfinished.rename(figures)
    else:
        print(f"{ended.stdout}\n{ended.stderr}", flush=True)
    return good


def main() -> int:
    """Run, read the figures, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the size of make check")
    parser.add_argument("--only", default="", help="proofs whose name contains this")
    parser.add_argument("--lanes", type=int, default=2, help="how many at a time (default: 2)")
    parser.add_argument("--write", type=Path, help="put the report into this file")
    parser.add_argument("--resume", action="store_true", help="leave out what has passed already")
    options = parser.parse_args()
    if not options.resume:
        shutil.rmtree(FIGURES, ignore_errors=True)
    size = "small" if options.small else "full"
    (FIGURES / size).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TASKMASTER_PROVE": "" if options.small else "1"}
    began = time.monotonic()
    # Most of them wait for most of their time.
    chosen = proofs(options.only, environment)
    with ThreadPoolExecutor(options.lanes) as lanes:
        passed = list(lanes.map(lambda name: prove(name, environment), chosen))
    took = "" if options.resume else f", in {(time.monotonic() - began) / 60:.0f} minutes"
    there = len(chosen) if not options.only else len(proofs("", environment))
    lines = [line for file in sorted((FIGURES / size).glob("*")) for line in file.read_text("utf-8").splitlines()]
    table = rows(merged([json.loads(line) for line in lines]))
    tried = "" if len(passed) == there else f"{len(passed)} of {there} proofs and parts were tried, "
    outcome = f"{tried}all {len(passed)} passed" if all(passed) else f"{passed.count(False)} OF {len(passed)} FAILED"
    conditions = (
        f"On {time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} processors, "
        f"{size} size{took}: {outcome}."
    )
    print(f"\n{as_text(table)}\n\n{conditions}")
    if options.write:
        options.write.write_text(as_rst(table, conditions), "utf-8")
    return 0 if passed and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
