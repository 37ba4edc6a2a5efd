"""An independent ledger: each execution of a job leaves a line, written by the callback itself.

Shares no code with Taskmaster. One append of a short line to a file opened with O_APPEND is not
torn by another process.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

# A job that calls it waits, if the test wants that, so that a run is certainly going on while it is
# looked at, stopped or killed: see ``Playground.hold``.
HOLD = """
import os, time

def hold():
    ledger = os.environ["LEDGER"]
    held = f"{ledger}.held-{os.getpid()}"
    try:
        while True:
            with open(ledger + ".hold") as file:
                after = int(file.read())
            if after:
                with open(ledger) as file:
                    if sum(line.startswith("end ") for line in file) < after:
                        return
            open(held, "w").close()
            time.sleep(0.02)
    except FileNotFoundError:
        pass  # let go, or nothing has ended yet
    finally:
        if os.path.exists(held):
            os.unlink(held)
"""
MODULE = (
    HOLD
    + """
LEDGER = os.environ["LEDGER"]
TOTAL = int(os.environ.get("TOTAL", "5000"))
SLEEP = float(os.environ.get("SLEEP", "0.002"))


def note(what, key):
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what} {key} {os.getpid()} {time.time()}\\n".encode())
    os.close(fd)


def get_jobs(last=-1):
    for key in range(last + 1, TOTAL):
        yield key


def handle_job(key):
    note("start", key)
    time.sleep(SLEEP)
    hold()
    note("end", key)
"""
)
# A run that is over when it has had TOTAL jobs and the test has said "enough", however fast the
# machine is; it says then how many jobs there were. A small --size leaves few to be done after
# that.
ENDLESS = MODULE.replace(
    """    for key in range(last + 1, TOTAL):
        yield key
""",
    """    key = last + 1
    while key < TOTAL or not os.path.exists("enough"):
        yield key
        key += 1
    with open("jobs.txt", "w") as file:
        file.write(str(key))
""",
)
assert ENDLESS != MODULE


class Ledger:
    """Reads what the callbacks wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[tuple[str, str, int]]:
        """What, key and process of each line."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            what, key, pid = line.split(" ")[:3]
            found.append((what, key, int(pid)))
        return found

    def timed(self) -> list[tuple[str, str, int, float]]:
        """The same with the wall-clock time of each line, where it was written down."""
        found = []
        for line in self.path.read_text().splitlines():
            what, key, pid, at = line.split(" ")
            found.append((what, key, int(pid), float(at)))
        return found

    def ended(self) -> Counter[str]:
        """How often each key was run to its end."""
        return Counter(key for what, key, _ in self.lines() if what == "end")

    def running(self) -> set[tuple[str, int]]:
        """Keys that were started and have not ended, with the process."""
        open_: set[tuple[str, int]] = set()
        for what, key, pid in self.lines():
            if what == "start":
                open_.add((key, pid))
            else:
                open_.discard((key, pid))
        return open_
