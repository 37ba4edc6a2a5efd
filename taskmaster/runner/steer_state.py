"""A run that is steered while no master is at work on it: what is changed is written to its state,
and in force when it is started again.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Mapping
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits
from taskmaster.master.records.steering_records import HOLD, RATE, LiveChange
from taskmaster.master.steering.amounts import rate_text
from taskmaster.master.steering.quiet_slaves import quieted_by, quiets
from taskmaster.master.steering.request import Command
from taskmaster.master.steering.steering import Steering
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.units import show_count, show_moment

__all__ = ["steer_state", "user_here"]

POSSIBLE = (Command.PAUSE, Command.RESUME, Command.RATE, Command.SET, Command.NOTE)


def user_here() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class _Nothing:
    """Stands in the place of a run at work, of which there is none, for ``Steering``."""

    def set_rate(self, rate: float | None, because: str) -> None:
        """Nothing is handed out."""

    def also_holds(self) -> str:
        """Nothing waits."""
        return ""

    def stop(self, by: str, *, at_once: bool) -> None:
        """Nothing runs."""

    def own_slave(self) -> str:
        """Return that there is none."""
        return ""

    @property
    def engine(self) -> str:
        """There is none."""
        return ""

    def start_value(self, name: str) -> str:  # noqa: ARG002  # it is not known here
        """Return what stands for the value of a command line that is not there."""
        return "as the command line says"

    def change(self, values: Mapping[str, str]) -> None:
        """Whether they are allowed is seen when the run is started."""


def steer_state(path: str, command: str, arguments: Mapping[str, str], reason: str) -> dict[str, Any]:
    """Change what is in force in a run that is not going on; return the answer.

    Args:
        path: The state file.
        command: What is asked for.
        arguments: The arguments of the command.
        reason: Why.

    Raises:
        UsageError: That is only possible while the run goes on, or is refused.
        StateLocked: A master is at work on it.
    """
    if command == Command.RETRY:
        raise UsageError(_no_retry(path))
    new = [name for name, value in arguments.items() if command == Command.SET and value.strip().lower() != "default"]
    if command not in POSSIBLE or new:
        raise UsageError(
            f"No master is at work on {path} at the moment, so that there is nothing to {command}. Start the run, or "
            "name the master of another one with --host."
        )
    store = SqliteStore.open_existing(path)
    try:
        record = store.load()
        if record.finished is not None and command != Command.NOTE:
            raise UsageError(
                f"The run of {path} is finished: a change would not be in force when it goes on with new jobs. Make "
                "it then, with an option of that command or while the run goes on."
            )
        nothing = _Nothing()
        steering = Steering(Broker("state", Limits()), nothing, nothing, live=record.live, trail=record.trail)
        by = {"user": user_here(), "host": socket.gethostname(), "pid": os.getpid(), "via": "tm-ctl"}
        request = {"id": uuid.uuid4().hex, "command": command, "by": by, "reason": reason}
        answer = steering.apply({**request, "arguments": dict(arguments)}, "", time.time())
        if not answer["ok"]:
            raise UsageError(str(answer["why"]))
        if answer["changed"]:
            store.write(steering.news())
            answer["say"] = _said(command, steering)
        return answer
    finally:
        store.close()


def _no_retry(path: str) -> str:
    """Return why no failed job is run again by this, with the command that does it."""
    store = SqliteStore.open_existing(path)
    try:
        record = store.load()
    finally:
        store.close()
    if not record.failures:
        return f"No job of the run of {path} counts as failed: there is nothing to try again."
    begun = record.command_line
    again = begun if begun.startswith("tm-") else "tm-run ..."
    again += "" if "--failed" in again.split() else " --failed"
    over = "is finished" if record.finished is not None else "is not going on"
    jobs = show_count(record.failures, "failed job", form=",")
    return f"The run of {path} {over}. `{again}` runs its {jobs} again."


def _said(command: str, steering: Steering) -> str:
    """Return what is said to the one who has changed it."""
    if command == Command.NOTE:
        return "No master is at work on it; the note is in the trail of its state."
    force = ", ".join(map(_in_force, steering.live.values())) or "nothing is changed against the command line"
    return f"No master is at work on it; the state has it now, for its next start: {force}."


def _in_force(change: LiveChange) -> str:
    if change.name == HOLD:
        return "paused" if change.until is None else f"paused until {show_moment(change.until)}"
    if change.name == RATE:
        return f"rate {rate_text(change.value)}"
    return f"{quieted_by(change)[1].name} gets no more jobs" if quiets(change) else f"{change.name} {change.value}"
