"""What a running function does with a queue, as its code says: whether what is in the queue is work
that it has to do.

A queue that a thread can reach may as well be a pool of connections, in which something always is.
"""

from __future__ import annotations

import functools
import inspect
import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType, MemberDescriptorType
from typing import Any

__all__ = ["amounts", "has_taken", "is_queue", "left_to_do", "waits_at_empty"]

_WAIT = threading.Condition.wait.__code__
_GET = queue.Queue.get.__code__
_DEPTH_OF_WAIT = 8  # frames in which a thread that waits at a queue between processes is
_TAKES = frozenset({"get", "get_nowait"})
_GIVES = frozenset({"put", "put_nowait"})
_DONE = "task_done"
_METHODS = _TAKES | _GIVES | {_DONE}
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")
_LOADS = ("LOAD_ATTR", "LOAD_METHOD")  # the second one up to Python 3.11


def is_queue(one: Any) -> bool:
    """Return whether something is a queue between threads or processes."""
    return issubclass(type(one), (queue.Queue, queue.SimpleQueue, *_between_processes()))


def waits_at_empty(stack: Sequence[FrameType]) -> bool:
    """Return whether a thread waits at a queue in which nothing is.

    Args:
        stack: Its frames, the innermost first.
    """
    if len(stack) > 1 and stack[0].f_code is _WAIT and stack[1].f_code is _GET:
        return not amounts(stack[1].f_locals["self"])[0]
    codes = {kind.get.__code__ for kind in _between_processes()}
    for depth, frame in enumerate(stack[: _DEPTH_OF_WAIT if codes else 0]):
        if frame.f_code in codes:
            one = frame.f_locals["self"]
            empty = "res" not in frame.f_locals and not amounts(one)[0]
            return empty and (hasattr(one, "qsize") or _has_received_nothing(stack[:depth], one))
    return False


def has_taken(frame: FrameType, one: Any) -> bool:
    """Return whether a function that takes out of a queue between processes, and does not wait
    there, may be at work on what it has taken: such a queue does not count that.
    """
    counts = not isinstance(one, _between_processes()) or hasattr(one, "task_done")
    return not counts and _only_takes(_called(frame, one))


def amounts(one: Any) -> tuple[int, int]:
    """Return how much is in a queue, and how much of what it was given is not said to be done.

    The lock of a queue between threads is not taken, which a thread that does not get on may have,
    and ``qsize`` of a class of the user's is not called.
    """
    try:
        if issubclass(type(one), queue.Queue):
            return one._qsize(), one.unfinished_tasks  # noqa: SLF001
        if issubclass(type(one), queue.SimpleQueue):
            return one.qsize(), 0
        size = _size_between(one)
        unfinished = getattr(one, "_unfinished_tasks", None)
        return size, 0 if unfinished is None else int(unfinished.get_value())
    except Exception:
        return 0, 0  # it is not made to the end, or closed


def left_to_do(frame: FrameType, one: Any) -> int:
    """Return how much of what is in a queue is for a function that runs; 0 where that is not sure.

    It is where the function says what it has done, or takes something out and puts nothing in; what
    was put in last comes first where connections are kept, and they are put back.
    """
    items, unfinished = amounts(one)
    if not items and not unfinished:
        return 0
    called = _called(frame, one)
    if _DONE in called:
        return unfinished
    return items if _only_takes(called) and not isinstance(one, queue.LifoQueue) else 0


def _called(frame: FrameType, one: Any) -> set[str]:
    return {method for name, method in _calls_in(frame.f_code) if _stands_for(frame, name, one)}


def _only_takes(called: set[str]) -> bool:
    return bool(called & _TAKES) and not called & _GIVES


def _has_received_nothing(inner: Sequence[FrameType], one: Any) -> bool:
    """Return whether a thread has received nothing yet in ``get`` of a queue between processes that
    has no size, and that was empty a moment ago: it is so, too, when all was read out of its pipe.

    Args:
        inner: What ``get`` has called, the innermost first.
        one: The queue.
    """
    from multiprocessing.synchronize import SemLock

    if not inner:
        return False
    if inner[0].f_code is SemLock.__enter__.__code__:
        return True  # another thread reads
    return len(inner) > 1 and "buf" not in inner[1].f_locals and _is_blocked(inner[0], one._reader.fileno())  # noqa: SLF001


def _is_blocked(top: FrameType, descriptor: int) -> bool:
    """Return whether the thread that is in a function waits in a call of the system that reads a
    descriptor, as Linux says: one that has read and waits for its turn to go on looks the same to
    Python. True where the system does not say.
    """
    # All frames are not kept in a variable: with this function's own, they would be a cycle.
    idents = [ident for ident, frame in sys._current_frames().items() if frame is top]  # noqa: SLF001
    natives = [one.native_id for one in threading.enumerate() if one.ident in idents]
    if not natives:
        return False  # it has gone on
    try:
        words = Path(f"/proc/self/task/{natives[0]}/syscall").read_text("ascii").split()
    except OSError:
        return True
    return len(words) > 1 and int(words[1], 16) == descriptor


def _between_processes() -> tuple[Any, ...]:
    queues: Any = sys.modules.get("multiprocessing.queues")
    return () if queues is None else (queues.Queue, queues.SimpleQueue)


def _size_between(one: Any) -> int:
    try:
        return int(one.qsize())
    except (NotImplementedError, AttributeError):  # as on macOS; a SimpleQueue does not have it
        return 0 if one.empty() else 1


@functools.cache
def _calls_in(code: CodeType) -> frozenset[tuple[str, str]]:
    """Return which methods of a queue's names some code calls, or takes to call them: the name
    before, and the method's.
    """
    import dis

    found: set[tuple[str, str]] = set()
    before: Any = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in _LOADS and name in _METHODS and isinstance(before, str):
            found.add((before, name))
        before = name[-1] if isinstance(name, tuple) and name else name
    # A function of their own up to Python 3.11.
    inner = [one for one in code.co_consts if type(one) is CodeType and one.co_name in _COMPREHENSIONS]
    return frozenset(found).union(*map(_calls_in, inner))


def _stands_for(frame: FrameType, name: str, one: Any) -> bool:
    """Return whether a name stands for a queue in a function, or is an attribute that does."""
    scope, local = frame.f_globals, frame.f_locals
    if local.get(name) is one or scope.get(name) is one:
        return True
    holders = [*local.values(), *(scope[other] for other in frame.f_code.co_names if other in scope)]
    return any(_attribute(holder, name) is one for holder in holders)


def _attribute(holder: Any, name: str) -> Any:
    """Return an attribute without running any code of the user's."""
    found = inspect.getattr_static(holder, name, None)
    if type(found) is MemberDescriptorType:  # of a class with __slots__
        try:
            return found.__get__(holder)
        except (AttributeError, TypeError):
            return None
    return found
