"""What daemons of callbacks have in hand when their worker ends: a daemon thread or process need
not come to its end, but work that can be seen is waited for.

That is what a thread, such as that of a ``QueueListener``, has in a queue, the tasks of an event
loop that runs in a thread, and what is in queues of ``multiprocessing`` while there is a daemon
process. What cannot be seen is said; what can, and is not done, is an error.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from taskmaster.slave.worker.queue_use import amounts, has_taken, is_queue, left_to_do, waits_at_empty
from taskmaster.slave.worker.unawaited import is_users_code

__all__ = [
    "count_processes",
    "lost_between",
    "lost_sentence",
    "processes_sentence",
    "threads_sentence",
    "wait_for_work",
]

END_CHECK_SECONDS = 0.01  # between two checks whether the work has been done
SHOWN = 3  # daemons that are named
STILL_SECONDS = 5.0  # without any progress, after which it is waited for no longer
LAST_STILL_SECONDS = 0.5  # the same for what exit functions have just told a pool's threads: to end

_SCOPES = (ModuleType, FunctionType, MethodType, BuiltinFunctionType, type)  # through which all can be reached


def wait_for_work(*, last: bool = False) -> None:
    """Wait until nothing is seen that daemons have in hand, or none of them gets on.

    Args:
        last: Whether exit functions have run.
    """
    still = LAST_STILL_SECONDS if last else STILL_SECONDS
    seen, since = _work(), time.monotonic()
    while seen and time.monotonic() < since + still:
        time.sleep(END_CHECK_SECONDS)
        if (now := _work()) != seen:
            seen, since = now, time.monotonic()


def threads_sentence() -> str:
    """Return a sentence if daemon threads may lose something now: one that has work in hand, or one
    that runs the user's code and does not wait at an empty queue; "" if not.
    """
    left = [
        thread.name
        for thread, stack in _stacks().items()
        if not _lost(stack) and (_in_hand(stack) or (_is_users(thread) and not waits_at_empty(stack)))
    ]
    return _sentence("threads", left)


def lost_sentence() -> str:
    """Return a sentence if daemon threads certainly lose something now, which was put into a queue
    for them; "" if not.
    """
    left = {thread.name: lost for thread, stack in _stacks().items() if (lost := _lost(stack))}
    names = [f"{name} ({lost} left of its queue)" for name, lost in left.items()]
    return _sentence("threads", names)


def lost_between(daemons: int) -> str:
    """Return the same for processes, whose exit functions have run.

    Args:
        daemons: How many daemon processes there were before.
    """
    queues: Any = sys.modules.get("multiprocessing.queues")
    lost = 0
    for one in gc.get_objects() if queues and daemons else ():
        if issubclass(type(one), queues.JoinableQueue) and getattr(one, "_opid", 0) == os.getpid():
            items, unfinished = amounts(one)
            # Where it is empty, and more is not done than can be in hand, nobody calls task_done.
            lost += unfinished if items or unfinished <= daemons else 0
    if not lost:
        return ""
    return (
        "daemon processes of callbacks were ended with their worker, and what they had not done is lost: "
        f"{lost} left of a JoinableQueue. Call its join() in teardown()"
    )


def processes_sentence() -> str:
    """Return the same for daemon processes of ``multiprocessing``, which are ended by its exit
    function.
    """
    return _sentence("processes", [process.name for process in _daemon_processes()])


def count_processes() -> int:
    """Return how many daemon processes there are, but for those of a pool."""
    return len(_daemon_processes())


def _sentence(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"daemon {what} of callbacks were still there when their worker ended, and what they had not done is lost: "
        f"{', '.join(sorted(names)[:SHOWN])}{more}. Have them end, and join them, in teardown()"
    )


def _work() -> list[Any]:
    """Return what daemons have in hand, and how much of it; empty if nothing is seen."""
    queues: Any = sys.modules.get("multiprocessing.queues")
    between = [
        (id(one), size)
        for one in (gc.get_objects() if queues and _daemon_processes() else ())
        if issubclass(type(one), queues.Queue) and (size := _size_of(one))
    ]
    return between + [part for stack in _stacks().values() for part in _in_hand(stack)]


def _daemon_processes() -> list[Any]:
    """Return the daemon processes, whatever they run: which function that is is not known here any
    more. Those of a pool are left out: it has been waited for.
    """
    processes: Any = sys.modules.get("multiprocessing.process")
    return [
        one for one in (processes.active_children() if processes else ()) if one.daemon and "PoolWorker" not in one.name
    ]


def _size_of(one: Any) -> int:
    """Return how much is in a queue between processes, or is not said to be done."""
    return max(amounts(one))


def _stacks() -> dict[threading.Thread, list[FrameType]]:
    """Return the frames of each daemon thread that is not Taskmaster's, the innermost first."""
    tops = sys._current_frames()  # noqa: SLF001
    # With this function's own frame, these would be a cycle: what other threads let go meanwhile
    # would be left to the garbage collection, which crashes Python 3.12 over a Queue's messages.
    del tops[threading.get_ident()]
    stacks: dict[threading.Thread, list[FrameType]] = {}
    for thread in threading.enumerate():
        top = tops.get(thread.ident or 0)
        if thread.daemon and top is not None and not thread.name.startswith("taskmaster-"):
            stacks[thread] = stack = [top]
            while (outer := stack[-1].f_back) is not None:
                stack.append(outer)
    return stacks


def _in_hand(stack: list[FrameType]) -> list[Any]:
    if waits_at_empty(stack):
        return [lost] if (lost := _lost(stack)) else []
    queues = [
        (id(one), *found)
        for frame in stack
        for one in _queues_of(frame)
        if sum(found := amounts(one)) or has_taken(frame, one)
    ]
    return queues + [id(one) for frame in stack for one in _calls_of(frame)]


def _lost(stack: list[FrameType]) -> int:
    """Return how much of what is in queues is certainly for this thread to do."""
    left: dict[int, int] = {}
    for frame in stack:
        for one in _queues_of(frame):
            # One between processes may be read in another one, if it comes from there.
            if getattr(one, "_opid", os.getpid()) == os.getpid():
                left[id(one)] = max(left.get(id(one), 0), left_to_do(frame, one))
    return sum(left.values())


def _queues_of(frame: FrameType) -> list[Any]:
    """Return the queues that a function has at hand, or that belong to what it has at hand."""
    scope = frame.f_globals
    values = [*frame.f_locals.values(), *(scope[name] for name in frame.f_code.co_names if name in scope)]
    found = [one for one in values if is_queue(one)]
    for one in values:
        if issubclass(type(one), _SCOPES) or is_queue(one):
            continue
        inner = gc.get_referents(one)
        inner += [deeper for part in inner if type(part) is dict for deeper in gc.get_referents(part)]
        found += [part for part in inner if is_queue(part)]
    return list({id(one): one for one in found}.values())


def _calls_of(frame: FrameType) -> list[Any]:
    """Return the user's tasks of the event loop that a frame runs, and the functions that it was
    just given; none if it runs no loop.
    """
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None or frame.f_code is not asyncio.BaseEventLoop.run_forever.__code__:
        return []
    loop = frame.f_locals["self"]
    # Perhaps by run_coroutine_threadsafe, which makes its task there. What lets a task go on is no
    # work of its own: where one beats for ever, it comes for ever, and would look like progress.
    given = [one for one in list(loop._ready) if _is_function(one._callback)]  # noqa: SLF001
    tasks = asyncio.all_tasks(loop)
    return given + [task for task in tasks if is_users_code(getattr(task.get_coro(), "cr_code", None))]


def _is_function(called: Any) -> bool:
    """Return whether a loop was given a function to call, and not a task to go on with."""
    asyncio: Any = sys.modules["asyncio"]
    of_task = isinstance(getattr(called, "__self__", None), asyncio.Future)
    wakes_sleeper = called is asyncio.futures._set_result_unless_cancelled  # noqa: SLF001
    return called is not None and not of_task and not wakes_sleeper


def _is_users(thread: threading.Thread) -> bool:
    """Return whether a thread was made to run the user's code."""
    called: Callable[..., Any] | None = getattr(thread, "function", None) or getattr(thread, "_target", None)
    called = type(thread).run if called is None else called
    while isinstance(called, functools.partial):
        called = called.func
    return is_users_code(getattr(getattr(called, "__func__", called), "__code__", None))
