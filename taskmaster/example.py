"""The smallest job there is; it runs from any directory once Taskmaster is installed.

In one terminal::

    $ tm-master taskmaster.example

and in another, as often as you like::

    $ tm-slave taskmaster.example

Interrupt the master (Ctrl-C) and start it again: it goes on where it was. ``--reset`` starts anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

JOBS = 100_000


def get_jobs(last: int = 0, **arguments: str) -> Iterator[int]:
    """Yield the jobs, in order.

    Args:
        last: Passed only when a run is resumed: all jobs up to this one are settled. It may be
            yielded again.
        arguments: ``tm-master taskmaster.example argument=value`` passes them as text; nothing
            depends on them here, but a run with other arguments is another run.
    """
    # Jobs are read while others run, and never all at once: a billion would do as well. A job must
    # be picklable, for it travels to another process, and have a key; a number is its own.
    yield from range(last, JOBS)


def count_jobs() -> int:
    """Say how many there are, for percent and time left; may be left out."""
    return JOBS


def handle_job(i: int) -> None:
    """Work on one job.

    This must be idempotent: after a crash, a job that had already run may run again.
    """
    time.sleep(0.001)  # stands in for real work
