"""Memory that batches come and go in: kept by the process instead of being given back after each
one.

Called once by each of Taskmaster's processes, before it has moved a batch.
"""

from __future__ import annotations

__all__ = ["keep_freed_memory"]

LARGE_BYTES = 16 * 1024 * 1024  # bytes: more than any usual batch; glibc goes up to 32 MiB


def keep_freed_memory() -> None:
    """Keep freed blocks as large as a batch, to be used again.

    glibc fetches a block of more than 128 KiB from the system and gives it back when it is freed,
    and shrinks its heaps as eagerly: each batch of 250 KB is then paid for with page faults, which
    cost several times as much as pickling it does. Freeing one large block raises both thresholds
    (``man mallopt``, M_MMAP_THRESHOLD). Elsewhere this does nothing.
    """
    block = bytes(LARGE_BYTES)  # which is never written to, so that it costs nothing; a bytearray is
    del block
