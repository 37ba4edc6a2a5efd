"""What a callback forks must never speak as the worker that it was forked from.

A child may come back: by ``sys.exit()``, an exception, an ``exec`` that failed, or a return. It
would go on with the worker's batch, on the worker's socket and scoreboard, and its words would be
taken for the worker's.
"""

from __future__ import annotations

import os

from taskmaster.runtime.child_process import end_child
from taskmaster.slave.ipc.scoreboard import Scoreboard
from taskmaster.slave.worker.event_loop import EventLoop
from taskmaster.slave.worker.message_sender import flush

__all__ = ["keep_children_out"]


def keep_children_out(descriptor: int, scoreboard: Scoreboard, loop: EventLoop) -> None:
    """Take this process's socket, scoreboard and loop away from every process that is forked from
    it.

    What a child of ``multiprocessing`` does is not touched: it never comes back.

    Args:
        descriptor: the socket's.
        scoreboard: the shared memory for the positions.
        loop: the loop in which this process awaits things.
    """
    scoreboard.keep_from_children()
    null = os.open(os.devnull, getattr(os, "O_PATH", os.O_RDONLY))

    def in_child() -> None:
        # The number stays taken, and what is written to it is an error.
        os.dup2(null, descriptor, inheritable=False)
        scoreboard.detach()
        loop.leave(end_child)

    os.register_at_fork(before=flush, after_in_child=in_child)
