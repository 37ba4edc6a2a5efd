"""``tm-run TARGET --job KEY`` of a source whose jobs are parked and split."""

from __future__ import annotations

from support.playground import Playground

RANGES = """
from pathlib import Path
from taskmaster import Job

class Ranges:
    parked = True
    def iterate(self, last):
        if last is not None and type(last) not in (tuple, list):
            raise ValueError(f"{last!r} is none of the ranges")
        return (Job((lo, lo + 8), [lo, lo + 8]) for lo in range(0 if last is None else last[1], 40, 8))
    def split(self, key):
        lo, hi = key
        middle = (lo + hi) // 2
        return [] if hi - lo == 1 else [Job(part, list(part)) for part in ((lo, middle), (middle, hi))]

def get_jobs():
    return Ranges()

def handle_job(ends):
    assert not ends[0] <= 21 < ends[1], ends
"""


def test_a_part_of_a_range_that_has_failed_is_taken_from_the_state(playground: Playground) -> None:
    """The source has no such job: it was split off while the run went on."""
    playground.write("mod.py", RANGES)
    run = playground.run("tm-run", "mod.py", "1", "--progress=none", "--retries=0")
    assert run.process.returncode == 3, run.output
    state = (playground.directory / "mod.tmstate").read_bytes()

    again = playground.run("tm-run", "mod.py", "--job", "(21, 22)")

    assert again.process.returncode == 3
    assert "AssertionError: [21, 22]" in again.output
    assert "The job with the key (21, 22) is taken from the state" in again.output
    assert (playground.directory / "mod.tmstate").read_bytes() == state

    playground.write("mod.py", RANGES.replace("<= 21 <", "<= 99 <"))
    mended = playground.run("tm-run", "mod.py", "--job", "(21, 22)")
    assert mended.process.returncode == 0, mended.output


def test_a_number_is_no_key_of_a_range_and_the_message_shows_one(playground: Playground) -> None:
    """Such a source is not asked to go on after a number."""
    playground.write("mod.py", RANGES)
    run = playground.run("tm-run", "mod.py", "--job", "20")

    assert run.process.returncode == 2
    assert "No job of get_jobs has the key 20 (5 jobs read); the first one has the key (0, 8)." in run.output
    assert "--reset" not in run.output


def test_the_state_of_another_run_is_not_looked_into(playground: Playground) -> None:
    """Its job of that key is another one."""
    playground.write("other.py", RANGES)
    playground.write("mod.py", "def get_jobs():\n    yield (21, 22)\ndef handle_job(job):\n    pass\n")
    playground.run("tm-run", "other.py", "1", "--progress=none", "--retries=0")
    run = playground.run("tm-run", "mod.py", "--job", "(21, 22)", "--state=other.tmstate")

    assert run.process.returncode == 0, run.output
    assert "is taken from" not in run.output


HOSTILE = """
import atexit, os, sys

def get_jobs(last=0):
    yield 1

def handle_job(n):
    if not os.fork():
        raise SystemExit("child\\x1b]0;pwn\\x07")
    os.wait()
    raise ValueError("\\x1b[2J\\x9b31m\\r\\u202e gone")
"""


def test_what_an_exception_says_tells_a_terminal_nothing(playground: Playground) -> None:
    """It may quote a row of a table, in which anything can stand."""
    playground.write("mod.py", HOSTILE)
    run = playground.run("tm-run", "mod.py", "--job", "1")

    assert run.process.returncode == 3
    assert "ValueError: ?[2J?31m ? gone" in run.output
    assert "child?]0;pwn?" in run.output
    assert not set(run.output) & set("\x1b\x9b\r\u202e\x07")
