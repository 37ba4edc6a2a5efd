"""Jobs that run in the master's own process, one after the other: ``--processes 0``.

For tests, notebooks, ``breakpoint()``, and callbacks that need a connection or a temporary database
of this very process. The service, the broker, the checkpoints and the worker's own code are those
of any run; only the network and the processes between them are left out. The source is read here,
too, in the thread that called ``start()``, so that both see what that thread sees.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

from taskmaster import __version__
from taskmaster.django_orm import integration
from taskmaster.errors import Interrupted, TargetError
from taskmaster.master.run import Run
from taskmaster.model import PROTOCOL, Answer, AnswerState, Failure, Report, ReportEnd
from taskmaster.options.commands import RunOptions
from taskmaster.records import changing
from taskmaster.redaction import clean_lines
from taskmaster.runner.in_process_server import InProcessServer
from taskmaster.runner.left_open import LeftOpen
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.local_slave import SlaveKind
from taskmaster.runner.loop import Loop
from taskmaster.runtime import replaced_clock
from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.runtime.context import HERE
from taskmaster.runtime.signals import Signals
from taskmaster.runtime.tracebacks import users_traceback
from taskmaster.slave.ipc.messages import (
    BatchEnded,
    BatchUnreadable,
    CallRaised,
    JobFailed,
    Quit,
    RunBatch,
    to_plain,
    to_supervisor,
)
from taskmaster.slave.ipc.scoreboard import Scoreboard
from taskmaster.slave.pool.batch_size import BatchSize
from taskmaster.slave.worker.callbacks import Callbacks, name_of
from taskmaster.slave.worker.message_sender import MessageSender
from taskmaster.slave.worker.results import Calls, NothingRan, Results
from taskmaster.slave.worker.unawaited import Unawaited, count_as_users
from taskmaster.slave.worker.worker import read_batches, run_one_by_one, run_together

__all__ = ["InProcessSlave", "InProcessSpec"]

TURN_SECONDS = 0.2  # after which the run looks at its signals, limits and progress again
JOB_CHECK_SECONDS = 0.05  # between two checks whether a job has come


@changing(slots=False, compared=True)
class InProcessSpec:
    """What runs jobs here.

    Attributes:
        options: The options of the run.
        callbacks: Gives what is called.
        kind: As of ``LocalSlaveSpec``.
    """

    kind: ClassVar[Literal[SlaveKind.IN_PROCESS]] = SlaveKind.IN_PROCESS
    options: RunOptions
    callbacks: Callable[[], Callbacks]
    _slave: InProcessSlave | None = None

    def provide(self, _stack: ExitStack) -> None:
        """Do nothing: no process has to be forked."""

    def notify(self) -> None:
        """Hear of a signal, inside of its handler."""
        if self._slave is not None:
            self._slave.notify()

    def start(self, loaded: LoadedRun, run: Run, server: InProcessServer, signals: Signals) -> InProcessSlave:
        """Set up, and say hello.

        Args:
            loaded: What is run.
            run: Reads the source in this thread.
            server: Where the run's service is.
            signals: Asked between two jobs.
        """
        about = {"code": loaded.code, "callback": loaded.callback, "target": loaded.told_slaves}
        about["place"] = loaded.callback_file
        options = self.options
        self._slave = InProcessSlave(
            self.callbacks(), server, run.read_here, batch=options.batch, grace=options.grace, about=about
        )
        self._slave.enter(run.id, signals)
        return self._slave


class _Mailbox:
    """Stands where the socket between a supervisor and its worker stands."""

    def __init__(self) -> None:
        self.inbox: deque[tuple[Any, ...]] = deque()
        self._outbox: list[Any] = []

    def recv(self) -> tuple[Any, ...]:
        """Give the next message for the worker; after the last one, it is to quit."""
        return self.inbox.popleft() if self.inbox else to_plain(Quit(0.0))

    def send(self, message: tuple[Any, ...]) -> None:
        """Take what the worker says."""
        self._outbox.append(to_supervisor(message))

    def collect(self) -> list[Any]:
        """Return what the worker has said since the last call."""
        said, self._outbox = self._outbox, []
        return said


class _GivenUp(BaseException):
    """The job that runs was interrupted: it has not failed, and goes back."""


class _InProcessSender(MessageSender):
    """Says what the worker's code says; an interrupted job is no failed one."""

    interrupted = False

    def failed(self, region: int, index: int, exc: BaseException) -> None:
        """Say that a job has failed, unless that was asked for."""
        if self.interrupted:
            raise _GivenUp from exc
        super().failed(region, index, exc)

    def raised(self, region: int, indices: Any, exc: BaseException) -> None:
        """Say that a call has failed, unless that was asked for."""
        if self.interrupted:
            raise _GivenUp from exc
        super().raised(region, indices, exc)


class InProcessSlave:
    """Runs the jobs of one run here, whenever the run looks after its slave.

    Args:
        callbacks: What is called.
        server: The server of the service.
        read: Reads some of the source in this thread; gives False if there is no room or no more.
        batch: Jobs in a batch; None: chosen by how long the jobs take.
        grace: Seconds that the job that runs has to end after the first signal.
        about: What the slave says of its code in its hello.

    Raises:
        TargetError: ``setup`` raised.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        server: InProcessServer,
        read: Callable[[], bool],
        *,
        batch: int | None,
        grace: float,
        about: dict[str, str],
    ) -> None:
        self._callbacks = callbacks
        self._service = server.service
        self._read = read
        self._grace = grace
        self._about = about
        self._mailbox = _Mailbox()
        self._sender = _InProcessSender(self._mailbox, callbacks.kind)  # type: ignore[arg-type]  # a channel that leads nowhere
        self._scoreboard = Scoreboard(-1)
        self._size = BatchSize(1, batch)
        self._ident, self._name = uuid.uuid4().hex, f"{socket.gethostname()}:{os.getpid()}"
        self._signals: Signals | None = None
        self._running = self._idle = self._torn_down = False
        self._timer: threading.Timer | None = None
        self._nice = 0.0
        self._clock = time.monotonic
        self._worked = (0.0, 0.0)  # until when, and for how long
        self._loop = Loop()
        count_as_users(callbacks.handle)
        results = Results(name_of(callbacks.handle), self._loop.awaited)
        self._calls = Calls(callbacks.handle, results, self._scoreboard, self._sender)
        server.connect(self._leave)
        forget_in_children(self)
        self._left_open = LeftOpen()
        with self._left_open.of_jobs_alone():
            self._set_up()
        self._loop.begin_jobs()

    engine = ""

    @property
    def name(self) -> str:
        """What it calls itself, "host:pid"."""
        return self._name

    @property
    def pause(self) -> float:
        """Seconds after which the run looks after this slave again."""
        return JOB_CHECK_SECONDS if self._idle else 0.0

    def enter(self, run: str, signals: Signals) -> None:
        """Say hello.

        Args:
            run: Id of the run.
            signals: Asked between two jobs.
        """
        self._signals = signals
        HERE.run, HERE.slave, HERE.job_timeout = run, self._name, None
        self._greet([])

    def _greet(self, held: list[str]) -> None:
        welcome = self._service.hello(
            {
                "protocol": PROTOCOL,
                "version": __version__,
                "python": platform.python_version(),
                "session": self._ident,
                "name": self._name,
                "workers": 1,
                "slots": 1,
                "held": held,
                **self._about,
            }
        )
        self._nice = float(welcome.get("nice", 0.0))

    def check(self) -> None:
        """Run jobs for a while, if there are some; read the source where none is there."""
        began = time.monotonic()
        until = began + TURN_SECONDS
        self._idle = began < self._worked[0] + self._nice * self._worked[1]
        if self._idle:
            self._exchange([], 0)  # a slave that rests is not lost
            return
        reports: list[Report] = []
        while time.monotonic() < until and not self._stopping:
            answer = self._exchange(reports, 1)
            reports = []
            for batch in answer.batches:
                began = time.monotonic()
                reports.append(self._run(batch))
                self._sender.end_if_child()  # one that the callback has forked must not go on as a second run
                if time.monotonic is not self._clock:  # a job has left it replaced
                    replaced_clock.check(name_of(self._callbacks.handle))
                self._worked = (now := time.monotonic(), now - began)
            if self._nice and answer.batches:
                self._idle = True
                break
            if answer.state is not AnswerState.RUN or not (answer.batches or self._read()):
                self._idle = True
                break
        if reports:
            self._exchange(reports, 0)

    def dismiss(self, _hurry: Callable[[], bool]) -> None:
        """Do nothing: it is this process."""

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> int:
        """Tear down, once, and let what jobs have begun come to its end, unless there is no time
        (``hurry``); return 0 if all went well.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._torn_down:
            return 0
        code, self._torn_down = 0, True
        HERE.run = HERE.slave = ""
        if self._callbacks.teardown is not None:
            try:
                with Unawaited():
                    Results("teardown()", self._loop.awaited).finish(self._callbacks.teardown())
            except BaseException as exc:
                code = 1
                sys.stderr.write(clean_lines(f"teardown() raised {type(exc).__qualname__}:\n{users_traceback(exc)}"))
        began = time.monotonic()
        problems = self._loop.close(0.0 if hurry() else self._grace)
        self._left_open.wait(self._grace - (time.monotonic() - began), hurry)
        return self._left_open.tell(problems) or code

    def forget(self) -> None:
        """In a forked child: begin no more jobs."""
        self._scoreboard.detach()

    def notify(self) -> None:
        """Hear of a signal, inside of its handler: the first one lets the running job end."""
        signals = self._signals
        if signals is None or not self._running:
            return
        if signals.repeated:
            self._sender.interrupted = True
            raise KeyboardInterrupt
        self._scoreboard.heads[0][0] = 0
        self._scoreboard.lowered[0][0] = True
        if self._timer is None:
            sys.stderr.write(
                f"\n{signals.name}: the job that runs here has {self._grace:g} s to end; the same signal again ends it "
                "at once.\n"
            )
            self._timer = threading.Timer(self._grace, self._end_at_last, (signals.received,))
            self._timer.daemon = True
            self._timer.start()

    # -- inside ------------------------------------------------------------------------------------

    @property
    def _stopping(self) -> bool:
        return self._signals is not None and self._signals.received > 0

    def _set_up(self) -> None:
        if self._callbacks.setup is None:
            return
        try:
            Results("setup()", self._loop.awaited).finish(self._callbacks.setup())
        except NothingRan as exc:
            raise TargetError(str(exc)) from None
        except (Exception, SystemExit, GeneratorExit) as exc:  # sys.exit(0) would look like a run that is done
            raise TargetError(
                f"setup() raised {type(exc).__qualname__}, so that no job can be run.",
                user_traceback=users_traceback(exc),
            ) from exc

    def _exchange(self, reports: list[Report], batches: int) -> Answer:
        said, want = [report.to_wire() for report in reports], tuple(self._size.want(batches))
        answer = Answer.from_wire(self._service.exchange(self._ident, said, want))
        if answer.state is AnswerState.UNKNOWN:  # a setting was changed, which a hello tells
            self._greet([report.token for report in reports])
            answer = Answer.from_wire(self._service.exchange(self._ident, said, want))
        self._nice = answer.rest
        return answer

    def _leave(self) -> None:
        self._service.bye(self._ident)

    def _run(self, batch: Any) -> Report:
        """Run a batch; gives what there is to report of it."""
        if self._stopping:  # the signal came while the batch was asked for
            return Report(batch.token, 0, (), (), batch.count, ReportEnd.DROPPED)
        blob = b"".join(batch.blob.parts) if hasattr(batch.blob, "parts") else bytes(batch.blob)
        self._mailbox.inbox.append(to_plain(RunBatch(0, batch.separate, batch.alone, None, blob)))
        self._scoreboard.prepare(0, batch.count)
        batches = read_batches(self._mailbox, self._sender, self._scoreboard, memoryview(b""))  # type: ignore[arg-type]  # as above
        run = run_together if self._callbacks.together else run_one_by_one
        self._running = True
        try:
            with integration.kept_connections():
                run(batches, self._calls)
        except (_GivenUp, KeyboardInterrupt):
            return self._given_up(batch)
        finally:
            self._running = False
        return self._report_of(batch)

    def _report_of(self, batch: Any) -> Report:
        failures: list[Failure] = []
        for message in self._mailbox.collect():
            if isinstance(message, JobFailed):
                failures.append(message.failure)
            elif isinstance(message, CallRaised):
                return Report(
                    batch.token, 0, (), (message.failure,), batch.count, ReportEnd.RAISED, message.indices,
                    together=True,
                )  # fmt: skip
            elif isinstance(message, BatchUnreadable):
                return Report(batch.token, 0, end=ReportEnd.UNREADABLE, detail=message.text)
            elif isinstance(message, BatchEnded):
                self._size.note(message.stop, message.seconds)
                return Report(
                    batch.token, message.stop, (), tuple(failures), message.stop, ReportEnd.FINISHED,
                    seconds=message.seconds, times=message.times,
                )  # fmt: skip
        raise RuntimeError("a batch ended without a word")

    def _given_up(self, batch: Any) -> Report:
        """Report what was settled before the job that was interrupted, and give the rest back."""
        done = 0 if self._callbacks.together else self._scoreboard.position(0)
        failures = tuple(said.failure for said in self._mailbox.collect() if isinstance(said, JobFailed))
        if self._signals is None or not self._signals.received:
            raise Interrupted("", signal.SIGINT)
        return Report(batch.token, done, (), failures, batch.count, ReportEnd.DROPPED)

    def _end_at_last(self, number: int) -> None:
        """End the job that runs: its time is over."""
        if self._running and self._signals is not None:
            self._signals.repeated = True
            signal.pthread_kill(threading.main_thread().ident or 0, number)
