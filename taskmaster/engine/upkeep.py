"""The thread that keeps a fleet of slaves on an engine: it does what the fleet says.

Nothing of the engine is waited for anywhere else: a scheduler that is away holds up neither the
master nor the slaves that run.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

from taskmaster.engine.contract import Engine, EngineGone
from taskmaster.engine.fleet import Fleet, last_line
from taskmaster.engine.slave_task import SlaveTask
from taskmaster.errors import ConnectError
from taskmaster.runtime.tracebacks import one_line

__all__ = ["Upkeep"]

ENGINE_POLL_SECONDS = 0.25  # between two looks at the engine
AWAY_SECONDS = 1.0  # between two looks while the engine does not answer
HANGS_SECONDS = 5.0  # after which an engine that has not answered yet is away
ENGINE_GONE_SECONDS = 15.0  # after which it is not waited for at the end
ENGINE_CLOSING_SECONDS = 5.0  # for the engine to let go
VARYING = re.compile(r"\S*/|\d+")  # what differs from worker to worker: paths and numbers


class Upkeep:
    """Keeps a fleet.

    Args:
        fleet: Decides what is to be done.
        engine: Does it.
        task: The task of each slave.
        write: Prints a line above the progress, to the stream given.
    """

    def __init__(self, fleet: Fleet, engine: Engine, task: SlaveTask, write: Callable[[str, TextIO], None]) -> None:
        self._fleet = fleet
        self._engine = engine
        self._task = task
        self._write = write
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._said = ""
        self._endings: set[str] = set()  # how slaves have ended, as far as it was said in full
        self._asked_at = 0.0  # when the question began that is not answered yet; 0: there is none
        self._thread = threading.Thread(target=self._keep, name="taskmaster-fleet", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why the fleet gives up; "" if it does not."""
        return self._fleet.failure

    @property
    def exit_code(self) -> int:
        """The exit code of a command whose fleet has given up."""
        return self._fleet.exit_code

    @property
    def over(self) -> bool:
        """Whether a slave has heard that the run is over, or none is left and none is needed."""
        with self._lock:
            return self._fleet.heard_end or (self._fleet.over and not self._fleet.tasks)

    @property
    def heard_end(self) -> bool:
        """Whether a slave has heard that the run is over."""
        return self._fleet.heard_end

    @property
    def left(self) -> int:
        """How many slaves have not ended, or not begun."""
        return len(self._fleet.tasks)

    @property
    def unfinished(self) -> bool:
        """Whether workers of a slave could not do at their end what was left to be done."""
        return self._fleet.unfinished

    def show(self) -> str:
        """Return how the fleet stands, for people. An engine that raises nothing and does not
        answer either is away since it was asked: Ray, whose head is gone, says nothing for a
        minute.
        """
        asked, now = self._asked_at, time.monotonic()
        with self._lock:
            status = self._fleet.status()
        if self._silent_for(HANGS_SECONDS) and status.away_since is None:
            status = replace(status, away_since=asked)
        return status.show(now)

    def _silent_for(self, seconds: float) -> bool:
        """Whether the engine was asked something so long ago, and has not answered yet."""
        asked = self._asked_at
        return bool(asked) and time.monotonic() - asked >= seconds

    def stop(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Have all slaves end. An engine that does not answer is not waited for: slaves hear of the
        end from their master, or by their lifeline.

        Args:
            seconds: How long they may take.
            hurry: Whether nothing may be waited for any more.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        silent = self._silent_for(HANGS_SECONDS)  # then it has had its time already
        self._thread.join(0.0 if silent else ENGINE_CLOSING_SECONDS)
        ending = threading.Thread(target=self._end, args=(seconds, hurry), name="taskmaster-fleet-end", daemon=True)
        ending.start()
        deadline = time.monotonic() + seconds + ENGINE_CLOSING_SECONDS
        while ending.is_alive() and time.monotonic() < deadline and not hurry():
            if self._silent_for(ENGINE_CLOSING_SECONDS if silent else ENGINE_GONE_SECONDS):
                break
            ending.join(0.1)
        ending.join(ENGINE_CLOSING_SECONDS)

    def _end(self, seconds: float, hurry: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        try:
            self._asked_at = time.monotonic()
            names = self._engine.drain()
            with self._lock:
                self._fleet.draining(names)
            while self._fleet.tasks and time.monotonic() < deadline and not hurry():
                self._asked_at = time.monotonic()
                self._poll()
                self._asked_at = 0.0
                time.sleep(0.05)
        except EngineGone:
            pass  # with its slaves; it has been said, or the run is over
        except Exception as exc:
            self._complain(f"the engine does not answer while its slaves are to end: {one_line(exc)}")
        finally:
            self._asked_at = time.monotonic()
            try:
                self._engine.close()
            except Exception as exc:
                self._complain(f"the engine cannot be left in good order: {one_line(exc)}")
            self._asked_at = 0.0

    def _keep(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause) and not self._fleet.failure:
            pause = ENGINE_POLL_SECONDS
            self._asked_at = time.monotonic()
            try:
                self._poll()
                self._submit()
            except EngineGone as exc:
                self._fleet.give_up(str(exc), ConnectError.exit_code)
            except Exception as exc:
                with self._lock:
                    self._fleet.away(time.monotonic(), one_line(exc))
                self._complain(f"the engine does not answer ({one_line(exc)}); slaves that run go on")
                pause = AWAY_SECONDS
            self._asked_at = 0.0

    def _submit(self) -> None:
        """Have the slaves started that are due; what the engine does not take is due again."""
        with self._lock:
            names = self._fleet.due(time.monotonic())
        if not names:
            return
        taken = 0
        try:
            for name in names:
                self._engine.submit(name, self._task.named(name))
                taken += 1
        finally:
            with self._lock:
                self._fleet.unsubmitted(names[taken:])

    def _poll(self) -> None:
        view = self._engine.poll()
        now = time.monotonic()
        with self._lock:
            self._fleet.seen(view.workers, view.running)
            for name, how in view.ended.items():
                before = self._fleet.last_problem
                self._fleet.ended(name, how, now)
                if self._fleet.last_problem != before and not self._fleet.failure:
                    self._say_ended(how.worker)
            surplus = self._fleet.surplus(view.withdrawable)
        for name in surplus:
            self._engine.withdraw(name)

    def _say_ended(self, worker: str) -> None:
        """Say how a slave has ended: in full for the first time, and in a line where others have
        said the same on other workers, whose directories and numbers differ.
        """
        said = self._fleet.last_problem
        short = last_line(said)
        alike = VARYING.sub("", short)
        if alike in self._endings:
            self._complain(f"another slave on the engine has ended, on {worker or 'a worker'}: {short}")
        else:
            self._endings.add(alike)
            self._complain(f"a slave on the engine has ended: {said}")

    def _complain(self, sentence: str) -> None:
        """Say what is wrong, once."""
        if sentence != self._said:
            self._said = sentence
            self._write(f"taskmaster: {sentence}\n", sys.stderr)
