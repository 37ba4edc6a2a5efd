"""Whether a source has ended although it has more: a query with a LIMIT, and no loop around it.

Such a function yields a round number of jobs, the run says "all done", and all that is behind them
is never read. It takes ``last``, so it can be asked what comes after its last key; it is asked
where the number is round, and nothing of what it yields then is run.
"""

from __future__ import annotations

import itertools
import threading

from taskmaster import keys
from taskmaster.django_orm import integration
from taskmaster.master.reading.job_checks import JobChecks
from taskmaster.master.reading.source import Source, is_users
from taskmaster.units import show_count

__all__ = ["has_round_number", "what_comes_after"]

SECOND_LOOK_SECONDS = 2.0  # that the end of a run waits for the answer
MOST_JOBS_READ_AGAIN = 100  # jobs, of which all but the last can have the key that was asked for
FEWEST_JOBS = 10


def has_round_number(jobs: int) -> bool:
    """Return whether a number of jobs is such as people write behind LIMIT."""
    return jobs >= FEWEST_JOBS and (jobs % 10 == 0 or jobs & (jobs - 1) == 0)


def what_comes_after(source: Source, checks: JobChecks) -> str:
    """Return a sentence if a source that has ended yields more when it is asked to go on; "" if
    not, or if that is not known in time.

    Args:
        source: The source, which has been read to its end.
        checks: Have looked at the jobs.
    """
    order = checks.order
    if order is None or not order.has_newest or not is_users(source) or not has_round_number(checks.seen):
        return ""
    found: list[str] = []

    def look() -> None:
        try:
            for job in itertools.islice(source.iterate(order.newest, resume=True), MOST_JOBS_READ_AGAIN):
                key = checks.identity.key(job)
                if not order.is_newest(key):
                    found.extend([keys.show(keys.encode(key))] if order.goes_on(key) else [])
                    return
        except BaseException:  # noqa: S110  # the run has gone well, and this was a question
            pass
        finally:
            _close(source)

    asked = threading.Thread(target=integration.with_context(look), name="taskmaster-look", daemon=True)
    asked.start()
    asked.join(SECOND_LOOK_SECONDS)
    if not found:
        return ""
    return (
        f"{source.name} has ended after {show_count(checks.seen, 'job')}, and yields more when it is asked to go on "
        f"after the last key, {order.newest!r:.100}: the next one is {found[0]}. If it reads with a LIMIT, put a loop "
        "around it that ends when nothing comes; if these are new, the same command goes on with them."
    )


def _close(source: Source) -> None:
    try:
        source.close()
    except BaseException:  # noqa: S110  # as above
        pass
    finally:
        integration.close_connections()
