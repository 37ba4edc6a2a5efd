"""Taskmaster as in ``tm_run``, with a store that writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.peers import Sample, main
from benchmarks.peers.tm_run import measure as measure_command


def measure(work: str, jobs: int, words: Sequence[str]) -> Sample:
    """Run the command with the store exchanged."""
    return measure_command(work, jobs, words, [sys.executable, "-m", "benchmarks.null_store"])


if __name__ == "__main__":
    main(measure)
