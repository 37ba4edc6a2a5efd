"""What a worker knows of the run that it works for.

The worker sets it to what its supervisor has told it; functions that the user's callback calls read
it. In any other process it is empty.
"""

from __future__ import annotations

from taskmaster.records import changing

__all__ = ["HERE", "Whereabouts"]


@changing(compared=True)
class Whereabouts:
    """What is known; durations in seconds.

    Attributes:
        run: Id of the run, "" outside of one.
        slave: "host:pid" of the slave.
        job_timeout: What a job, or a call, is given; None for as long as it takes.
    """

    run: str = ""
    slave: str = ""
    job_timeout: float | None = None


HERE = Whereabouts()
"""This process's."""
