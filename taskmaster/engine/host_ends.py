"""How what ran on somebody's executor has ended, as far as its workers say so: a host that ends
says what its workers could not do then.

It says it with the next batch of its executor's worker, in a file, where that is on this machine,
or to a call that asks for it. No worker can be named to an executor, so that such calls are made
until each host is heard of. Of one that was taken away with its machine nothing is heard: it is
waited for no longer than calls come back that have found nothing to end.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from taskmaster.engine.batch_call import HostEnd
from taskmaster.engine.batch_host import end_hosts
from taskmaster.engine.executor import no_interrupts

__all__ = ["HostEnds"]

LATE_ANSWER_SECONDS = 5.0  # for the answers, beyond the time that the ends have
END_POLL_SECONDS = 0.02  # between two checks whether there is an answer
MOST_FRUITLESS = 3  # rounds of calls in a row that come to no host which has not been heard of


class HostEnds:
    """What hosts have said of their ends.

    Attributes:
        path: The file in which hosts on this machine report their end.
        unheard: The hosts of which nothing was heard, with the workers of the executor that they
            were in, "host:pid".
    """

    def __init__(self) -> None:
        file, path = tempfile.mkstemp(prefix="taskmaster-ends-")
        os.close(file)
        self.path = Path(path)
        self.unheard: dict[str, str] = {}
        self._heard: set[str] = set()
        self._read = 0

    def begun(self, host: str, worker: str) -> None:
        """Note that a host has run a batch."""
        if host not in self._heard:
            self.unheard[host] = worker

    def hear(self, ends: Iterable[HostEnd]) -> list[str]:
        """Take what hosts have said; return what they could not do, as sentences."""
        problems = []
        for end in ends:
            if end.host not in self._heard:
                self._heard.add(end.host)
                self.unheard.pop(end.host, None)
                problems += [f"{problem} (on {end.worker})" for problem in end.problems]
        return problems

    def read(self) -> list[str]:
        """Take what was said in the file since the last time; as ``hear``. Where it is gone, as a
        file of weeks may be from a directory for temporary ones, hosts say it with their answers.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return self.hear(HostEnd(*json.loads(line)) for line in whole.splitlines())

    def lost(self) -> None:
        """Note that all hosts are gone with their executor: their jobs have run again."""
        self.unheard.clear()

    def ask(self, executor: Any, slave: str, workers: int, seconds: float, hurry: Callable[[], bool]) -> list[str]:
        """Have hosts end, and hear how; as ``hear``.

        Args:
            executor: Whose workers they are in.
            slave: Whose hosts they are.
            workers: How many workers there are.
            seconds: How long the end of a host may take.
            hurry: Whether nothing may be waited for any more.
        """
        problems = self.read()
        deadline = time.monotonic() + seconds + LATE_ANSWER_SECONDS
        fruitless, calls = 0, len(self.unheard)
        while self.unheard and fruitless < MOST_FRUITLESS and time.monotonic() < deadline and not hurry():
            before = len(self.unheard)
            try:
                with no_interrupts():
                    asked = [executor.submit(end_hosts, slave, seconds) for _ in range(calls)]
            except Exception:  # it has broken, or its cluster is gone
                return problems
            problems += self.hear(_answers(asked, deadline, hurry)) + self.read()
            fruitless = fruitless + 1 if len(self.unheard) == before else 0
            calls = max(workers, len(self.unheard))
        return problems

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _answers(
    asked: Collection[Future[tuple[HostEnd, ...]]], deadline: float, hurry: Callable[[], bool]
) -> list[HostEnd]:
    while not all(one.done() for one in asked) and time.monotonic() < deadline and not hurry():
        time.sleep(END_POLL_SECONDS)
    for one in asked:
        one.cancel()
    ended = [one for one in asked if one.done() and not one.cancelled()]
    return [end for one in ended if one.exception(0) is None for end in one.result(0)]
