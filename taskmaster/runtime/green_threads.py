"""Whether gevent or eventlet has replaced the threads and sockets of this process.

Their monkey-patches turn threads into coroutines that only change when one of them waits in a
patched call. Code that was imported before the patch waits in the real calls, and stands still.
"""

from __future__ import annotations

import _thread
import socket

from taskmaster.errors import TargetError

__all__ = ["check_master", "check_slots", "patched"]

_LIBRARIES = ("gevent", "eventlet")


def patched() -> str:
    """Return the library that has patched this process; "" if none has."""
    for found in (_thread.start_new_thread, socket.socket):
        library = str(getattr(found, "__module__", "")).partition(".")[0]
        if library in _LIBRARIES:
            return library
    return ""


def check_master(where: str, *, workers: bool) -> None:
    """Refuse to run a master in a process that was patched after Taskmaster was imported.

    A process that gevent had patched before serves as well as any other; one of eventlet's cannot
    have workers.

    Args:
        where: What has patched it, for messages.
        workers: Whether worker processes are started.

    Raises:
        TargetError: The run would hang.
    """
    library = patched()
    if library and (library != _EARLY or (workers and library == "eventlet")):
        raise TargetError(
            f"{where} replaces the threads or sockets of this process by those of {library} (its monkey-patch), in "
            "which a master stands still. Patch in setup(), which is called in each worker."
        )


def check_slots(slots: int) -> str:
    """Return why a worker cannot run several jobs at once, as a sentence; "" if it can."""
    library = patched() if slots > 1 else ""
    if not library:
        return ""
    return (
        f"The threads or sockets of this worker are those of {library} (its monkey-patch), so that it can run one job "
        "at a time only: leave out --threads and --concurrency, and let handle_jobs run a list of jobs at once in "
        f"{library}'s own pool."
    )


_EARLY = patched()
"""What had patched the process when this module was imported, with Taskmaster."""
