"""Shared memory, and the buffers in it, where the system gives little or none."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable

import pytest

from taskmaster.slave.pool import buffers, shared_memory
from taskmaster.slave.pool.buffers import BUFFER_BYTES, Buffers
from taskmaster.slave.pool.shared_memory import NoSharedMemory, make_memory


def refusing(number: int) -> Callable[..., int]:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EACCES, errno.EPERM])
def test_a_file_takes_the_place_of_anonymous_memory(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It is as large, shared by all who map it, and has no name."""
    monkeypatch.setattr(os, "memfd_create", refusing(number))
    descriptor = make_memory(65_536)
    first, second = mmap.mmap(descriptor, 65_536), mmap.mmap(descriptor, 65_536)
    first[65_535] = 7

    assert second[65_535] == 7
    assert os.fstat(descriptor).st_nlink == 0

    os.close(descriptor)


def test_where_nothing_works_the_sentence_has_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, and what cures the second one."""
    monkeypatch.setattr(os, "memfd_create", refusing(errno.ENOSYS))
    monkeypatch.setattr(shared_memory, "_unlinked_file", refusing(errno.EROFS))
    with pytest.raises(NoSharedMemory, match=r"Function not implemented.*Read-only file system.*TMPDIR") as found:
        make_memory(65_536)

    assert not found.value.too_large


@pytest.mark.parametrize(("room", "count"), [(100 * BUFFER_BYTES, 16), (5 * BUFFER_BYTES, 4), (65_536, 0)])
def test_there_are_as_many_buffers_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch, room: int, count: int) -> None:
    """The other batches take another way; no buffer overlaps another one."""

    def make(size: int) -> int:
        if size > room:
            raise NoSharedMemory("too large", too_large=True)
        return make_memory(size)

    monkeypatch.setattr(buffers, "make_memory", make)
    made = Buffers(16)
    taken = [made.take(1000) for _ in range(17)]
    found = [buffer for buffer in taken if buffer is not None]

    assert len(found) == len({buffer.offset // BUFFER_BYTES for buffer in found}) == count

    made.close()
