"""The fork server: a process that forks the workers, so that nothing ever forks from a process
with threads.

A process of its own, as ``python -m taskmaster.slave.worker.fork_server FD``; or forked by
``fork_server_with`` from a user's script, before that has any thread, when the callback lives in
the script and cannot be imported. It runs one thread and none of the user's code. ::

    supervisor ──spec, 5 descriptors──► fork server ──fork──► worker
               ◄──"spawned" / "exited"──

It ends, and its workers with it, as soon as the supervisor is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import threading
import warnings
from typing import NamedTuple, NoReturn

from taskmaster.django_orm import integration
from taskmaster.errors import UsageError
from taskmaster.runtime.child_process import kill_group
from taskmaster.runtime.descriptors import open_descriptors
from taskmaster.runtime.randomness import reseed
from taskmaster.runtime.titles import set_title
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.slave.worker import worker
from taskmaster.slave.worker.callbacks import Callbacks
from taskmaster.slave.worker.ending import forget_inherited_exits, reopen_log_sockets
from taskmaster.slave.worker.message_sender import flush
from taskmaster.slave.worker.open_files import Inherited, flush_all, shared_descriptors

__all__ = ["fork_server_with", "main"]

PR_SET_PDEATHSIG = 1
KEY_VARIABLE = "TASKMASTER_KEY"


class WorkerDescriptors(NamedTuple):
    """What a new worker is given.

    Attributes:
        sock: The socket to the supervisor.
        memory: The scoreboard's memory.
        buffers: The memory in which batches arrive.
        out: The pipe for its standard output.
        err: The pipe for its standard error.
    """

    sock: int
    memory: int
    buffers: int
    out: int
    err: int


class _Own(NamedTuple):
    """What the fork server itself works with, and a worker closes."""

    control: socket.socket
    wake_in: int
    wake_out: int
    selector: selectors.BaseSelector


def fork_server_with(callbacks: Callbacks) -> tuple[socket.socket, int]:
    """Fork a fork server that holds callbacks in memory.

    Returns:
        The supervisor's end of its control socket, and its process id.

    Raises:
        UsageError: the process has other threads, whose locks a forked child could wait for for
            ever.
    """
    integration.close_before_fork()  # first: a pool of connections has threads
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others:
        changed = integration.changed_settings()
        why = f"Django's settings {changed}" if changed else "The callback cannot be imported by its name"
        here = "give processes=0, with which jobs run in this very process,"
        cure = here if changed else f"define the callback in a module of its own, {here}"
        raise UsageError(
            f"{why}, so that this process would have to be forked; but it already runs other threads "
            f"({', '.join(others[:3])}), and forking them is not safe. {cure.capitalize()} or call start() before "
            "anything starts a thread."
        )
    ours, theirs = socket.socketpair()
    flush()
    flush_all()
    ctypes.CDLL(None).fflush(None)  # what an extension in C has not printed yet
    pid = os.fork()
    if pid == 0:
        _become_fork_server(theirs, callbacks)
    theirs.close()
    return ours, pid


def _become_fork_server(control: socket.socket, callbacks: Callbacks) -> NoReturn:
    """In the forked child: nothing of the script may go on running here, not even its ``finally``
    blocks.
    """
    status = 1
    try:
        os.setpgid(0, 0)
        _forget_key()
        _let_go({control.fileno(), *shared_descriptors()})
        integration.drop_after_fork()
        inherited = Inherited()
        gc.freeze()  # what the script has made, the script finalizes
        serve(control, callbacks, inherited)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        flush()
        os._exit(status)


def _forget_key() -> None:
    """Wipe the key where the system shows it of this process and of all workers that it forks.

    Copies that Python has made of it stay in the memory that was forked.
    """
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    value = library.getenv(KEY_VARIABLE.encode())
    if value:
        ctypes.memset(value, ord("*"), len(ctypes.string_at(value)))
    os.environ.pop(KEY_VARIABLE, None)


def _let_go(keep: set[int]) -> None:
    """Leave the script's files, sockets and database connections to the script.

    Their numbers stay taken: the objects live on in this process's copy, and one that is used or
    closed here must not hit a socket of ours that was given its number. Using one is an error: what
    a callback writes must not vanish. The files in ``keep``, such as a log, workers can write to
    beside the script.
    """
    while (null := os.open(os.devnull, getattr(os, "O_PATH", os.O_RDONLY))) <= 2:
        pass  # a script without standard streams: nothing of ours may get their numbers
    for descriptor in open_descriptors():
        if descriptor > 2 and descriptor not in keep and descriptor != null:
            try:
                os.dup2(null, descriptor, inheritable=False)
            except OSError:
                os.close(descriptor)  # above a limit that was lowered later: nothing can be given that number


def serve(control: socket.socket, callbacks: Callbacks | None, inherited: Inherited | None = None) -> None:
    """Fork workers on request until the supervisor is gone, then end those that are left.

    Args:
        control: the socket to the supervisor.
        callbacks: what workers call; None if they load it themselves.
        inherited: the files of the script that was forked, where the callbacks come from one.
    """
    set_title("tm-fork-server", "fork server")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _disregard)
    # What the first process of all had blocked is blocked here, too: no end would be heard of.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM})
    wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
    signal.set_wakeup_fd(wake_out)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    own = _Own(control, wake_in, wake_out, selectors.DefaultSelector())
    own.selector.register(control, selectors.EVENT_READ)
    own.selector.register(wake_in, selectors.EVENT_READ)
    children: set[int] = set()
    try:
        while True:
            ready = [key.fileobj for key, _ in own.selector.select()]
            if wake_in in ready:
                os.read(wake_in, 4096)
            _reap(children, control)
            if control in ready:
                data, fds, _, _ = socket.recv_fds(control, 65536, 8)
                if not data:
                    return
                pid = _spawn(WorkerSpec.from_line(data), fds, own, callbacks, inherited)
                if pid > 0:
                    children.add(pid)
                _say(control, {"spawned": pid})
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        for pid in children:
            kill_group(pid)
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def _reap(children: set[int], control: socket.socket) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in children:
            children.discard(pid)
            _end_group(pid, status)
            _say(control, {"exited": pid, "status": status})


def _end_group(pid: int, status: int) -> None:
    """End what callbacks have left running in the group of a worker that has ended.

    What a dead worker's job has started must not go on beside the job's next execution. At a good
    end it is asked, so that what cleans up after others, like ``multiprocessing``'s resource
    tracker, can do so.
    """
    # The number is not given to anybody else at once: the system counts up.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL if status else signal.SIGTERM)


def _say(control: socket.socket, message: dict[str, int]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


def _spawn(
    spec: WorkerSpec,
    fds: list[int],
    own: _Own,
    callbacks: Callbacks | None,
    inherited: Inherited | None,
) -> int:
    """Fork a worker; return its process id, -1 if the system has no process left."""
    parent = os.getpid()
    with warnings.catch_warnings():
        # This process has one thread of Python's. A library that the user's script has loaded may
        # run others, natively: Python warns of those, and they are prepared for a fork, or the
        # script could not fork at all.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # no more processes: the supervisor tries again later
    if pid == 0:
        _become_worker(parent, spec, fds, own, callbacks, inherited)
    for descriptor in fds:
        os.close(descriptor)
    return pid


def _become_worker(
    parent: int,
    spec: WorkerSpec,
    fds: list[int],
    own: _Own,
    callbacks: Callbacks | None,
    inherited: Inherited | None,
) -> NoReturn:
    """In the forked child: leave the fork server behind, and work."""
    status = 1
    try:
        os.setpgid(0, 0)  # a callback that signals its group must not reach the other workers and the fork server
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _let_terminations_pass()
        _die_with_parent(parent)
        own.selector.close()
        for descriptor in (own.control.fileno(), own.wake_in, own.wake_out):
            os.close(descriptor)
        given = WorkerDescriptors(*fds)
        _take_streams(given)
        os.environ.pop(KEY_VARIABLE, None)
        reseed()
        set_title("tm-worker", f"worker of {spec.target}" if callbacks is None else "worker")
        forget_inherited_exits()
        if inherited is not None:
            reopen_log_sockets()
        status = worker.main(given.sock, given.memory, given.buffers, callbacks, spec, inherited)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        flush()
        os._exit(status)


def _take_streams(given: WorkerDescriptors) -> None:
    """Make the pipes to the supervisor the standard streams, and keep all else from the programs
    that a callback starts.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (given.out, 1), (given.err, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    for descriptor in (given.sock, given.memory, given.buffers):
        os.set_inheritable(descriptor, False)
    # Lines go out as they are printed: a worker that dies takes what is buffered with it.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _disregard(*_: object) -> None:
    """Do nothing about a signal: the programs that a callback starts would inherit SIG_IGN."""


def _let_terminations_pass() -> None:
    """Leave SIGTERM and SIGHUP to the supervisor, which lets running jobs end.

    They come to all processes of a service, or of a machine that goes down. A ``setup`` that sets a
    handler of its own has its way; and what a callback starts is ended by them.
    """
    passing = {signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        passing.discard(signal.SIGHUP)  # as under nohup, also for what a callback starts
    forking = threading.local()

    def before() -> None:
        # A child that is terminated at once must not lose the signal to the handler that it still
        # has.
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, passing)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    def in_child() -> None:
        for number in passing:
            if signal.getsignal(number) is _disregard:
                signal.signal(number, signal.SIG_DFL)
        in_parent()

    for number in passing:
        signal.signal(number, _disregard)
        signal.siginterrupt(number, False)  # not every library calls again what was interrupted
    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _die_with_parent(parent: int) -> None:
    """On Linux, have the kernel end this process with the fork server; elsewhere it ends when its
    socket does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Do what ``python -m taskmaster.slave.worker.fork_server FD`` is to do."""
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.set_inheritable(False)
        serve(control, None)


if __name__ == "__main__":
    main()
