"""The last events of a session, held back until it is known how its command ends.

The run is over when its jobs are settled. Only then its workers end, and something that they wrote
may be lost: a program that waits for the end of a run must not be told that all went well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskmaster.master.events import LAST_EVENTS, EventName

__all__ = ["LastEvents"]


class LastEvents:
    """Passes events on, the last ones when they are released.

    Args:
        listeners: Each is called with each event.
    """

    def __init__(self, *listeners: Callable[[Mapping[str, Any]], object]) -> None:
        self._listeners = listeners
        self._held: list[Mapping[str, Any]] = []

    def tell(self, event: Mapping[str, Any]) -> None:
        """Pass an event on, or hold it back."""
        if event["event"] in LAST_EVENTS:
            self._held.append(event)
        else:
            self._pass_on(event)

    def release(self, exit_code: int | None = None, why: str = "", remark: str = "") -> None:
        """Pass on what was held back.

        Args:
            exit_code: The command's; None: it is not known better than the events know it.
            why: Why it is another one than the run's, as a part of a sentence; of a session that
                has stopped, what else is to be known of its end.
            remark: What is not known of the end, as sentences.
        """
        held, self._held = self._held, []
        for event in held:
            told = dict(event)
            finished = event["event"] == EventName.FINISHED
            if exit_code is not None and (event.get("exit_code") != exit_code or (finished and why)):
                told["exit_code"] = exit_code
                if why:
                    told |= {"text": f"{event['text']} But the exit code is {exit_code}: {why}.", "reason": why}
            elif event["event"] == EventName.STOPPED and why:
                told["text"] = f"{event['text']} But {why}."
            if remark:
                told["text"] = f"{told['text']} {remark}"
            self._pass_on(told)

    def _pass_on(self, event: Mapping[str, Any]) -> None:
        for listener in self._listeners:
            listener(event)
