"""The buffers: shared memory where batches are received, and where workers open them.

The supervisor only passes a batch on. Here it lies in one place from the network to the worker:
without it, each byte is copied four times more, which for jobs of a kilobyte took more time than
all else that a slave does. Made by ``taskmaster.slave.pool.pool``; the place of a batch is free
again as soon as nobody refers to it.
"""

from __future__ import annotations

import mmap
import os
import tempfile

__all__ = ["BUFFER_BYTES", "Buffer", "Buffers", "make_memory"]

BUFFER_BYTES = 4 * 1024 * 1024  # bytes; a batch is rarely larger than half of it, and one that is goes another way


def make_memory(size: int) -> int:
    """A descriptor of new shared memory, gone when nobody has it open any more."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("taskmaster", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Buffer:
    """Where one batch lies, until it is no longer referred to.

    Attributes:
        offset: its first byte on the buffers.
        view: its bytes.
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
    """The places of one slave, used again and again: memory that was never used costs nothing.

    Args:
        count: how many batches the slave may hold.

    Attributes:
        descriptor: of the memory, for the workers.
    """

    def __init__(self, count: int) -> None:
        self.descriptor = make_memory(count * BUFFER_BYTES)
        self._memory = memoryview(mmap.mmap(self.descriptor, count * BUFFER_BYTES))
        self._free = [number * BUFFER_BYTES for number in reversed(range(count))]

    def take(self, size: int) -> Buffer | None:
        """A place for so many bytes; None if none is free, or they are too many for one."""
        if size > BUFFER_BYTES or not self._free:
            return None
        # The one that was left last is the most likely to be in the processor's cache.
        offset = self._free.pop()
        return Buffer(offset, self._memory[offset : offset + size], self._free)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
