"""Buffers: shared memory where batches are received, and where workers open them.

The supervisor only passes a batch on: in a buffer it is not copied between the network and the
worker. Without that, each byte would be copied four more times, which for jobs of a kilobyte took
more time than all else that a slave does. A buffer is free again as soon as nothing refers to it.
"""

from __future__ import annotations

import mmap
import os

from taskmaster.slave.pool.shared_memory import NoSharedMemory, make_memory

__all__ = ["BUFFER_BYTES", "Buffer", "Buffers"]

BUFFER_BYTES = 4 * 1024 * 1024  # a batch is rarely larger than half of it, and one that is goes another way


class Buffer:
    """Where one batch lies, until it is no longer referred to.

    Attributes:
        offset: Its first byte in the shared memory.
        view: Its bytes.
    """

    __slots__ = ("_free", "offset", "view")

    def __init__(self, offset: int, view: memoryview, free: list[int]) -> None:
        self.offset = offset
        self.view = view
        self._free = free

    def __len__(self) -> int:
        return len(self.view)

    def __del__(self) -> None:
        self._free.append(self.offset)


class Buffers:
    """The buffers of one slave, used again and again: memory that was never used costs nothing.

    Where the system gives less, there are fewer buffers, or none: the other batches go through the
    workers' sockets.

    Args:
        count: How many batches the slave may hold.

    Attributes:
        descriptor: The memory's, for the workers.

    Raises:
        NoSharedMemory: There is not even a page of it.
    """

    def __init__(self, count: int) -> None:
        while True:
            size = max(count * BUFFER_BYTES, mmap.PAGESIZE)
            try:
                self.descriptor = make_memory(size)
                break
            except NoSharedMemory as exc:
                if not (count and exc.too_large):
                    raise
                count //= 2
        self._memory = memoryview(mmap.mmap(self.descriptor, size))
        self._free = [number * BUFFER_BYTES for number in reversed(range(count))]

    def take(self, size: int) -> Buffer | None:
        """Return a buffer of ``size`` bytes, None if none is free or large enough."""
        if size > BUFFER_BYTES or not self._free:
            return None
        # The one that was freed last is the most likely to be in the processor's cache.
        offset = self._free.pop()
        return Buffer(offset, self._memory[offset : offset + size], self._free)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
