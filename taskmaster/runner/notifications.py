"""Notifies of what happens in a run: each notifier in a thread of its own, which nothing waits for.

A notification never delays a run, and never fails it. Only at the end they are waited for, and not
for long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskmaster.master.events import EventName
from taskmaster.runtime.log import clean_logger

if TYPE_CHECKING:  # a run that notifies nobody loads no client for the web
    from taskmaster.runner.notifiers import Notifier

__all__ = ["Notifications"]

logger = clean_logger(__name__)

MOST_EVENTS_WAITING = 100  # events for a notifier; of more, the oldest are dropped
LAST_SENDING_SECONDS = 10.0  # that the end waits for what is to be told
WAIT_STEP_SECONDS = 0.05  # between two looks meanwhile
KILLED_SECONDS = 1.0  # that a command which is killed may take to go
TOLD_AGAIN_FACTOR = 10  # failures are told again when they are this many times those of the last notification


class Notifications:
    """Sends the events of a run to all notifiers.

    Args:
        notifiers: The notifiers that events are sent to.
        on: The names of those that are.
        about: Fields that are added to each event: the state's file, and the command that resumes.
        failed: Jobs that had failed before this session.
        seconds: For how long the end waits.
    """

    def __init__(
        self,
        notifiers: Sequence[Notifier],
        on: Collection[str],
        about: Mapping[str, Any],
        *,
        failed: int = 0,
        seconds: float = LAST_SENDING_SECONDS,
    ) -> None:
        self._on = on
        self._about = dict(about)
        self._failed = failed
        self._seconds = seconds
        self._senders = [_EventSender(one) for one in notifiers]

    def tell(self, event: Mapping[str, Any]) -> None:
        """Send an event, if it is one of those that are sent."""
        if not self._senders or event["event"] not in self._on or not self._is_worth_it(event):
            return
        target = f"{event['target']}: " if event["target"] else ""
        told = {**event, **self._about, "text": f"{target}{event['text']}"}
        for one in self._senders:
            one.add(dict(told))

    def close(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Wait a moment until all events are sent.

        Args:
            hurry: Whether to end at once.
        """
        deadline = time.monotonic() + self._seconds
        while any(one.busy for one in self._senders) and time.monotonic() < deadline and not hurry():
            time.sleep(WAIT_STEP_SECONDS)
        for one in self._senders:
            one.give_up()

    def _is_worth_it(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is to be told: of failures, only the first one, and then each
        time when ten times as many jobs have failed, of whatever kind.
        """
        if event["event"] != EventName.FAILURE:
            return True
        if event["failed"] < max(1, TOLD_AGAIN_FACTOR * self._failed):
            return False
        self._failed = event["failed"]
        return True


class _EventSender:
    """Sends events by one notifier, one after the other."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._waiting: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._sending = False
        self._dropped = 0
        self._has_warned = False

    @property
    def busy(self) -> bool:
        """Whether there is something left to send."""
        with self._changed:  # between the two, an event is in neither
            return bool(self._waiting) or self._sending

    def add(self, event: dict[str, Any]) -> None:
        """Put an event behind the others."""
        with self._changed:
            if len(self._waiting) == MOST_EVENTS_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(event)
            # Only now: a process that forks before it has something to tell has no thread.
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="taskmaster-notify", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more threads; the run does without
                    self._dropped += len(self._waiting)
                    self._waiting.clear()
                    return
                self._thread = thread
            self._changed.notify()

    def give_up(self) -> None:
        """Send nothing more; a command that still runs is killed."""
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            self._hurry.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(KILLED_SECONDS)
        if left or self._dropped:
            logger.warning(
                "%d notifications by %s were not sent: they took too long, or there was no thread for them",
                left + self._dropped,
                self._notifier.shown,
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._sending = False
                self._changed.wait_for(lambda: self._waiting or self._hurry.is_set())
                if not self._waiting:
                    return
                event, self._sending = self._waiting.popleft(), True
            try:
                why = self._notifier.send(event, self._hurry)
            except Exception as exc:
                why = f"{type(exc).__name__}: {exc.strerror if isinstance(exc, OSError) else ''}".rstrip(": ")
            if why and not self._has_warned:
                self._has_warned = True
                logger.warning("a notification by %s failed: %s. The run goes on", self._notifier.shown, why)
