"""Whether the clock of this process goes, and ``time.sleep`` waits: tests replace both.

Retries, leases and pauses are times on that clock: where it stands, a run does, without a word.
"""

from __future__ import annotations

import _thread
import time
from types import BuiltinFunctionType

from taskmaster.errors import TargetError

__all__ = ["check"]

CLOCK_TEST_SECONDS = 0.0002
SLEEP_TEST_SECONDS = 0.002  # twice as long as a mock may take to do nothing
SLEEP_TESTS = 3  # a mock may take longer once: its first call makes much, and others want the processor


def check(where: str) -> None:
    """Refuse to run a master by a clock that stands, or without a way to wait.

    Args:
        where: What has replaced it, for messages.

    Raises:
        TargetError: The run would stand still, or never wait.
    """
    if not _goes():
        raise TargetError(
            f"time.monotonic() stands still: {where}, or what it imports, has replaced it. No retry would ever be due. "
            'Replace it in the callback alone; with freezegun, write freeze_time(..., ignore=["taskmaster"]).'
        )
    if not _waits():
        raise TargetError(
            f"time.sleep() does not wait: {where}, or what it imports, has replaced it, and Taskmaster waits by it. "
            "Replace it in the callback alone."
        )


def _goes() -> bool:
    """Return whether the clock goes while a lock, whose clock nobody can replace, is waited for."""
    lock = _thread.allocate_lock()
    lock.acquire()
    begin = time.monotonic()
    lock.acquire(timeout=CLOCK_TEST_SECONDS)
    return time.monotonic() > begin


def _waits() -> bool:
    """Return whether ``time.sleep`` is Python's own, or takes as long as it says."""
    if isinstance(time.sleep, BuiltinFunctionType):
        return True
    for _ in range(SLEEP_TESTS):
        begin = time.monotonic()
        time.sleep(SLEEP_TEST_SECONDS)
        if time.monotonic() - begin <= SLEEP_TEST_SECONDS / 2:
            return False
    return True
