"""The scoreboard: memory that a worker and its supervisor share, where the worker publishes which
job it is at.

Two regions, for the batch that runs and the one behind it. A job is announced before it is started
and the limit is read after that; the supervisor lowers the limit first and reads the announcement
after that. So, in whatever order the two act, the worker starts no job that lies beyond both the
limit and the announced job. One more byte says that the limit was lowered: to look at it costs each
job less than to compare two numbers.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time

from taskmaster.model import MAX_BATCH

__all__ = ["ENDED", "NOT_BEGUN", "OPENING", "REGIONS", "RUNNING", "SCOREBOARD_BYTES", "Scoreboard"]

REGIONS = 2
NOT_BEGUN = 2**64 - 1  # as a position: the worker has not begun with the batch
OPENING = 2**64 - 2  # as a position: the worker is unpickling the batch
RUNNING, ENDED = 1, 2  # states of a job in the table; 0 is a job that has not been started
_MAP_FIXED = 0x10  # on Linux and macOS; ``mmap`` has no name for it
_HEAD_BYTES = 24
_REGION_BYTES = _HEAD_BYTES + MAX_BATCH
SCOREBOARD_BYTES = REGIONS * _REGION_BYTES  # bytes of the memory


class Scoreboard:
    """The two regions of a worker, seen from either side.

    Args:
        descriptor: The descriptor of shared memory of ``SCOREBOARD_BYTES`` bytes; it may be closed
            afterwards.

    Attributes:
        heads: For each region, limit and position as a view of numbers.
        lowered: For each region, whether the limit has been lowered.
        states: For each region, a byte for each job of the batch, used where several jobs run at
            once.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, SCOREBOARD_BYTES)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        whole = memoryview(self._memory)
        self.heads = [whole[r * _REGION_BYTES : r * _REGION_BYTES + _HEAD_BYTES].cast("Q") for r in range(REGIONS)]
        # As a truth value it costs each job less than as a number, which would have to be made.
        self.lowered = [whole[r * _REGION_BYTES + 16 : r * _REGION_BYTES + 17].cast("?") for r in range(REGIONS)]
        self.states = [whole[r * _REGION_BYTES + _HEAD_BYTES : (r + 1) * _REGION_BYTES] for r in range(REGIONS)]

    def keep_from_children(self) -> None:
        """Have the kernel leave this memory out of what a forked child gets, where it can."""
        if hasattr(mmap, "MADV_DONTFORK"):
            self._memory.madvise(mmap.MADV_DONTFORK)

    def detach(self) -> None:
        """In a forked child: have memory of one's own in the place of the shared one.

        Its limits say that nothing is to be started.
        """
        library = ctypes.CDLL(None, use_errno=True)
        library.mmap.restype = ctypes.c_void_p
        library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        address = library.mmap(self._address, SCOREBOARD_BYTES, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        if address != self._address:
            os._exit(1)  # what a child writes there would be taken for the worker's word
        for lowered in self.lowered:
            lowered[0] = True

    def prepare(self, region: int, count: int) -> None:
        """Make a region ready for a batch; the supervisor does this before it sends the batch."""
        self.heads[region][1] = NOT_BEGUN
        self.heads[region][0] = count
        self.lowered[region][0] = False
        self.states[region][:count] = bytes(count)

    def position(self, region: int) -> int:
        """Return the index before which every job has ended; 0 for a batch that has not begun."""
        position = self.heads[region][1]
        return 0 if position >= OPENING else position

    def begun(self, region: int) -> bool:
        """Return whether the worker has begun to open the batch."""
        return self.heads[region][1] != NOT_BEGUN

    def opening(self, region: int) -> bool:
        """Return whether the worker is unpickling the batch."""
        return self.heads[region][1] == OPENING

    def running(self, region: int, count: int, *, several: bool) -> list[int]:
        """Return the jobs that have been started and have not ended."""
        position = self.heads[region][1]
        if position >= OPENING:
            return []
        if not several:
            # Not compared with the limit, which may have been lowered below a job that was running.
            return [position] if position < count else []
        states = bytes(self.states[region][:count])
        return [index for index in range(count) if states[index] == RUNNING]

    def ended_beyond(self, region: int, position: int, count: int) -> tuple[int, ...]:
        """Return the jobs that have ended above a position that was read before."""
        states = bytes(self.states[region][:count])
        return tuple(index for index in range(position, count) if states[index] == ENDED)

    def start_no_more(self) -> None:
        """Start no more jobs of any batch; the worker itself does this."""
        for region in range(REGIONS):
            self.heads[region][0] = 0
            self.lowered[region][0] = True

    def lower(self, region: int, keep: int, count: int, *, several: bool) -> int:
        """Ask for the jobs from ``keep`` on; return the index from which none will be started."""
        head = self.heads[region]
        head[0] = min(head[0], keep)
        self.lowered[region][0] = True
        # A processor may read before its own write is visible to others. A system call takes longer
        # than that.
        time.sleep(0)
        position = head[1]
        if position >= OPENING:
            return keep
        if several:
            started = bytes(self.states[region][:count]).rstrip(b"\0")
            return max(keep, len(started))
        return max(keep, min(position + 1, count))
