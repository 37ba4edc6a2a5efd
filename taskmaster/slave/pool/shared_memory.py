"""Memory that the supervisor and its workers share, passed on as a descriptor.

Where the system refuses anonymous memory (old kernels, gVisor, ``vm.memfd_noexec=2``), an unlinked
file takes its place.
"""

from __future__ import annotations

import errno
import os
import tempfile

from taskmaster.errors import TaskmasterError

__all__ = ["NoSharedMemory", "make_memory"]

TEMPORARY_DIRECTORIES = ("/dev/shm", None)  # in memory if possible; None: where temporary files belong  # noqa: S108


class NoSharedMemory(TaskmasterError):
    """The system gives no memory that processes can share.

    Attributes:
        too_large: Whether less of it may be had: the size of files is limited, or the disk is full.
    """

    def __init__(self, sentence: str, *, too_large: bool) -> None:
        super().__init__(sentence)
        self.too_large = too_large


def make_memory(size: int) -> int:
    """Return a descriptor of ``size`` bytes of new shared memory; it goes with the last descriptor.

    Raises:
        NoSharedMemory: None of the ways to make it works.
    """
    problems: list[OSError] = []
    if hasattr(os, "memfd_create"):
        try:
            descriptor = os.memfd_create("taskmaster", os.MFD_CLOEXEC)
        except OSError as exc:
            problems.append(exc)
        else:
            try:
                os.ftruncate(descriptor, size)
                return descriptor
            except OSError as exc:
                os.close(descriptor)
                problems.append(exc)
    for directory in TEMPORARY_DIRECTORIES:
        try:
            return _unlinked_file(size, directory)
        except OSError as exc:
            problems.append(exc)
    if any(problem.errno == errno.EFBIG for problem in problems):
        raise NoSharedMemory(
            f"Worker processes need {size:,} bytes of shared memory at once, which is more than a file may have here: "
            "raise the limit of `ulimit -f`.",
            too_large=True,
        )
    raise NoSharedMemory(
        f"The system gives no memory that worker processes can share: {problems[0].strerror}, and no temporary file of "
        f"{size:,} bytes can be made either: {problems[-1].strerror}. Give TMPDIR a directory with room.",
        too_large=any(problem.errno == errno.ENOSPC for problem in problems),
    )


def _unlinked_file(size: int, directory: str | None) -> int:
    with tempfile.TemporaryFile(dir=directory) as file:
        # Reserved now: where the disk is full later, a process that touches its memory is killed.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno())
