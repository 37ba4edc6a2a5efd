"""Taskmaster's master with many slaves, which are light: ``benchmarks/light_slaves.py``, which
counts the jobs itself.

The words are its options. Its number of slaves is the second word of the command line, in the place
of the jobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import Sample, main

SCRIPT = Path(__file__).resolve().parents[1] / "light_slaves.py"
JOB = 0.05  # seconds that a job takes there


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:  # noqa: ARG001
    """Take over what it says; ``jobs`` is the number of slaves."""
    command = [sys.executable, str(SCRIPT), f"--slaves={jobs}", *words, "--json"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)[0]
    busy, idle = found["busy"], found["idle"]
    return {
        "jobs": busy["jobs"],
        "slaves": found["slaves"],
        "seconds": busy["seconds"],
        "efficiency": busy["jobs"] / busy["seconds"] * JOB / found["slaves"],
        "peak": max(busy["memory"], idle["memory"]),
        "cost": 1e6 * busy["master"] / busy["jobs"],
        "idle": idle["master"] / idle["seconds"],
    }


if __name__ == "__main__":
    main(measure)
