"""How large a proof is, which seed it plays, and what becomes of its figures.

A *proof* is a test that tries something many times, marked ``proof``. ``make test`` leaves it out,
``make check`` and ``.ci/run`` play its small size, ``make prove`` its large one, and puts the
figures of all proofs in one table. ``TASKMASTER_PROVE`` asks for the large size;
``TASKMASTER_SEED`` replays one seed; ``TASKMASTER_PROOFS`` names the file that figures are added
to, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TypeVar

Size = TypeVar("Size")

# Read when the tests are collected: each test runs in an environment without Taskmaster's
# variables.
_LARGE = bool(os.environ.get("TASKMASTER_PROVE"))
SEED = os.environ.get("TASKMASTER_SEED")
_FILE = os.environ.get("TASKMASTER_PROOFS")


def size(check: Size, prove: Size) -> Size:
    """How much to try, or how often: ``check`` in ``make check``, ``prove`` in ``make prove``."""
    return prove if _LARGE else check


def seed() -> int:
    """The seed to play: the one that was asked for, else a new one. It is printed, with the command
    that replays it.
    """
    chosen = int(SEED) if SEED else time.time_ns() % 1_000_000
    test = os.environ.get("PYTEST_CURRENT_TEST", "the same test").rpartition(" ")[0]
    large = "TASKMASTER_PROVE=1 " if _LARGE else ""
    print(f"replay with: TASKMASTER_SEED={chosen} {large}python -m pytest {test!r}")
    return chosen


def record(
    name: str,
    *,
    tried: int,
    survived: int,
    lost: int = 0,
    repeated: int | None = None,
    bound: int | None = None,
    stall: float | None = None,
) -> None:
    """Add a row to the table of ``make prove``.

    Args:
        name: what was tried, in plain words.
        tried: how many times.
        survived: how many of them ended as promised.
        lost: jobs that were not run.
        repeated: executions beyond the first of each job, None where the proof does not count them.
        bound: how many there may be.
        stall: the longest time without progress, in seconds.
    """
    row = {
        "name": name,
        "tried": tried,
        "survived": survived,
        "lost": lost,
        "repeated": repeated,
        "bound": bound,
        "stall": stall,
    }
    print(json.dumps(row))
    if _FILE:
        with Path(_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
