"""Taskmaster and its peers, a script each, which all are called alike.

``python -m benchmarks.peers.NAME WORK JOBS [WORD...]`` does a work once and prints one line of
JSON: ``jobs``, how many were done as far as the workers or their results show, ``seconds``, what
they took, and what else was found. It runs in a directory of its own, which is empty, and ends with
0 if nothing went wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

__all__ = ["Sample", "main"]

Sample = dict[str, float]
"""What was measured, by name; ``jobs`` and ``seconds`` are always there."""


def main(measure: Callable[[str, int, Sequence[str]], Sample]) -> None:
    """Do what the command line asks for.

    Args:
        measure: does the work; is given its name, how many jobs, and the words that follow.
    """
    work, jobs, *words = sys.argv[1:]
    print(json.dumps(measure(work, int(jobs), words)), flush=True)
