"""Taskmaster: ``tm-run`` with two workers, its default options, and its state on disk.

Measured from outside, as a command. The clock runs from the moment in which the first worker is
ready for jobs to the moment in which the last one is told that there are no more, which is a little
longer than from the first hand-out to the last report. The jobs are those that the command says it
has settled; it ends with 0 only if none has failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.peers import Sample, main
from benchmarks.works import NOTES, WORKERS, read_notes

TARGETS = {
    "W1": ("integers", "nothing"),
    "W2": ("texts", "nothing"),
    "W3": ("integers", "busy"),
    "W4": ("then_slow", "rest"),
    "W5": ("straggling", "straggle"),
    "W6": ("integers", "nothing"),
    "W7": ("integers", "nothing"),
    "W7 texts": ("texts", "nothing"),
    "W10": ("integers", "wait"),
    "W11": ("pausing", "arrive"),
    "W11 block": ("blocking", "hold"),
}
"""The generator and the callback of each work."""

COMMAND = (str(Path(sys.executable).with_name("tm-run")),)
NOTED, SAID = Path("notes"), Path("said")
LOOK = 0.02  # seconds between two looks at the master's memory


def measure(work: str, jobs: int, words: Sequence[str], command: Sequence[str] = COMMAND) -> Sample:
    """Run the command.

    Args:
        work: which one.
        jobs: how many.
        words: options of ``tm-run``, and arguments of the generator.
        command: what to run instead of ``tm-run``.
    """
    generator, callback = TARGETS[work]
    words = [f"benchmarks.works:{generator}", str(WORKERS), f"n={jobs}", *words, f"--handle-job-callback={callback}"]
    began = time.perf_counter()
    with SAID.open("wb") as said:
        process = subprocess.Popen([*command, *words], stderr=said, env={**os.environ, NOTES: str(NOTED.resolve())})
    peak = peak_memory(process) if work.startswith("W7") else 0.0
    code = process.wait()
    whole = time.perf_counter() - began
    settled = re.findall(r"Current Job: (\d+)", SAID.read_text())
    if code != 0 or not settled:
        sys.exit(f"{' '.join([*command, *words])} ended with {code}:\n{SAID.read_text()}")
    notes = read_notes(NOTED)
    if len(notes["setup"]) > WORKERS:
        sys.exit(f"A worker had to be replaced; the command said:\n{SAID.read_text()}")
    clock = whole if work == "W6" else max(notes["teardown"]) - min(notes["setup"])
    found = {"jobs": int(settled[-1]), "seconds": clock}
    if peak:
        found["peak"] = peak
    if "late" in notes:
        found["late"] = max(notes["late"])
    if "ran" in notes:
        found["again"] = len(notes["ran"]) - len(set(notes["ran"]))
    return found


def peak_memory(process: subprocess.Popen[bytes]) -> float:
    """The most memory that a process had resident before it ended, in millions of bytes.

    Linux keeps the mark itself, so that nothing between two looks is missed.
    """
    most = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            kept = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
            most = max(most, 1024 * int(kept[1]) if kept else psutil.Process(process.pid).memory_info().rss)
        except (OSError, psutil.Error):
            pass  # it has ended between the two lines
        time.sleep(LOOK)
    return most / 1e6


if __name__ == "__main__":
    main(measure)
