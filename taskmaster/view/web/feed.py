"""What the page knows of the run: asked of the master while somebody looks, about once a second.

Several browsers share one status, and one list of slaves. While nobody looks, nothing is asked. A
master that does not answer keeps nobody waiting: what it said last is shown, with the time since
then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from taskmaster.errors import ConnectError
from taskmaster.transport.line import LineRefused
from taskmaster.view.plot import points
from taskmaster.view.report import report
from taskmaster.view.snapshot import RunState
from taskmaster.view.status import Rate
from taskmaster.view.web.answers import cleaned, status_answer

__all__ = ["Feed", "Master"]

FRESH_SECONDS = 0.8  # an answer of the master that is younger is given to all who ask
ANSWER_WAIT_SECONDS = 2.5  # after which what was known before is shown
MOST_SLAVES_SHOWN, MOST_TRAIL = 40, 60
MOST_SORTED = 16  # parts of the list of slaves that are kept for a moment, for other browsers
KEPT_SAMPLES = 600
SHORT_SPAN, LONGER_SPAN, SHORT_SPAN_SECONDS = "10m", "6h", 600.0  # spans of the history
MOST_HISTORY_ROWS = 8640  # of a span of the master's history
LAST_SHOWING_SECONDS = 4.0  # longest wait at the end until each browser has seen it
LOOKING_SECONDS = 15.0  # after its last request, a browser is still looking


class Master(Protocol):
    """The line to the master; see ``taskmaster.transport.line``."""

    def ask(self, method: str, *arguments: Any, token: str | None = None) -> Any:
        """Ask it, and wait for the answer."""


class Feed:
    """Keeps the newest status of the run for all browsers.

    Args:
        master: Is asked.
        facts: What the page shows beside what the master says.
        clock: Seconds since the epoch.
    """

    def __init__(self, master: Master, facts: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        self._master = master
        self._facts = dict(facts)
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "taskmaster-line")  # one question at a time
        self._rate = Rate()
        self._status: dict[str, Any] | None = None
        self._more: dict[str, Any] = {}
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT_SAMPLES)
        self._history: dict[str, deque[dict[str, Any]]] = {}  # by the span
        self._history_seq: dict[str, int] = {}
        self._trail: deque[Any] = deque(maxlen=MOST_TRAIL)
        self._sorted: dict[tuple[str, int], tuple[float, dict[str, Any]]] = {}
        self._unknown: set[str] = set()  # what this master cannot be asked for
        self._refused: dict[str, str] = {}  # what it has not given when it was asked last, and why
        self._trouble = ""
        self._seen_at = 0.0
        self._asked_at = 0.0
        self._looked_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._all_saw = asyncio.Event()

    @property
    def gone(self) -> bool:
        """Whether the master did not answer when it was asked last."""
        return bool(self._trouble)

    async def fresh(self, *, looks: bool = True) -> None:
        """Ask the master, unless it was asked just now.

        Args:
            looks: A browser looks, which wants to see the end of the run, too.
        """
        if looks:
            self._looked_at = self._clock()
        if self._over or self._clock() - self._asked_at < FRESH_SECONDS:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._refresh())
        await asyncio.wait([self._task], timeout=ANSWER_WAIT_SECONDS)
        if not self._task.done():
            self._trouble = "The master has not answered yet; it is asked again."

    def answer(self, *, steers: bool) -> dict[str, Any]:
        """Return what ``/api/v1/status`` gives.

        Args:
            steers: Whether the request may steer.
        """
        page = {
            **self._facts,
            **self._more,
            "trail": list(self._trail),
            "trouble": self._trouble,
            "refused": dict(self._refused),
            "seen_at": self._seen_at,
            "now": self._clock(),
            "steers": steers and not self._over,
            "over": self._over,
        }
        found = status_answer(self._status, self._rate, page)
        if self._over:
            self._all_saw.set()
        return found

    def status(self) -> dict[str, Any]:
        """Return what the master has said last; {} if nothing yet."""
        return dict(self._status or {})

    async def history(self, span: str) -> dict[str, Any]:
        """Return the points of the plot: from the master's history, or from what was seen here if
        it keeps none.

        Args:
            span: "10m", "6h" or "all".
        """
        if not self._over and "history" not in self._unknown:
            await self._where_possible(self._read_history, span)
        rows = list(self._history.get(span, ()))
        if span == SHORT_SPAN and rows and not self._over:
            # The seconds of a master's earlier sessions are gone; of each minute, a row is left.
            await self._where_possible(self._read_history, LONGER_SPAN)
            first = rows[0]["at"]
            older = (row for row in self._history.get(LONGER_SPAN, ()) if row["at"] < first)
            rows[:0] = [row for row in older if row["at"] > rows[-1]["at"] - SHORT_SPAN_SECONDS]
        return {"span": span, "points": points(rows or list(self._samples)), "kept": bool(rows)}

    async def slaves(self, sort: str, after: int) -> dict[str, Any]:
        """Return a part of the slaves, as the master sorts them.

        Args:
            sort: By what; a text that it does not know: in the order in which they came.
            after: How many of them are left out.
        """
        kept = self._sorted.get((sort, after))
        if kept is None or self._clock() - kept[0] >= FRESH_SECONDS:
            wanted = {"after": after, "most": MOST_SLAVES_SHOWN, "sort": sort}
            found = await self._in_thread(self._look, "slaves", wanted) or {"rows": []}
            if len(self._sorted) >= MOST_SORTED:
                self._sorted.clear()
            kept = self._sorted[sort, after] = self._clock(), cleaned(found)
        return {"slaves": kept[1]["rows"][:MOST_SLAVES_SHOWN], "known": kept[1].get("slaves", 0)}

    async def report(self) -> bytes:
        """Return a report of the run, for browsers without scripts."""
        points_of_run = (await self.history(SHORT_SPAN))["points"]
        settings = cleaned(await self._where_possible(self._look, "settings", {}) or [])
        status = dict(self._status or {})
        why, state = status.get("why"), str(status.get("state") or "the master has not answered yet")
        sentence = self._trouble or (why.get("sentence", "") if isinstance(why, dict) else "")
        over = state in (RunState.FINISHED, RunState.STOPPED)
        tone = "bad" if self._trouble else "good" if state in (RunState.RUNNING, RunState.FINISHED) else "held"
        words = {"word": state, "tone": tone, "exit_code": status.get("exit_code") if over else None}
        return report(
            {
                "conclusion": {
                    **words,
                    "sentence": f"{sentence}{self._said_of_refused()}",
                    "finished": state == RunState.FINISHED,
                },
                "made_at": self._clock(),
                "status": status,
                "points": points_of_run,
                "trail": list(self._trail),
                "kinds": status.get("kinds") or [],
                "kinds_left_out": status.get("kinds_left_out"),
                "slaves": self._more.get("slaves", []),
                "settings": settings,
                "resume": self._facts.get("resume"),
                "state_file": self._facts.get("state_path"),
            }
        )

    def _said_of_refused(self) -> str:
        """Return which parts of the report are empty because the master does not give them, to go
        behind a sentence; "" if none is.
        """
        parts = "; ".join(f"{what} ({cleaned(why)})" for what, why in self._refused.items())
        return f". The master does not give what this shows of: {parts}" if parts else ""

    async def settings(self) -> Any:
        """Return each setting of the run."""
        return cleaned(await self._in_thread(self._look, "settings", {}) or [])

    async def steer(self, request: dict[str, Any], token: str) -> dict[str, Any]:
        """Ask the master for a change, with the token of the request.

        Raises:
            LineRefused: The token does not allow it, or the master could not do it.
            ConnectError: The master does not answer.
        """
        answer = await self._in_thread(lambda: self._master.ask("steer", request, token=token))
        self._asked_at = 0.0  # what has changed is to be seen at once
        return dict(cleaned(answer))

    def end(self, status: dict[str, Any] | None) -> None:
        """Take the last status of the master; the one before stays if there is none."""
        self._over = True
        if status is not None:
            self._note(status)

    async def seen(self) -> None:
        """Wait until a browser that looks has seen the end, for a moment."""
        if self._clock() - self._looked_at < LOOKING_SECONDS:
            try:
                await asyncio.wait_for(self._all_saw.wait(), LAST_SHOWING_SECONDS)
                await asyncio.sleep(1.2)  # other browsers ask within a second
            except TimeoutError:
                pass

    # -- inside ------------------------------------------------------------------------------------

    async def _where_possible(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Ask the master for something that the page can do without; None if it does not answer."""
        try:
            return await self._in_thread(call, *arguments)
        except ConnectError:
            return None

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    async def _refresh(self) -> None:
        try:
            status, more, rows = await self._in_thread(self._ask_all)
            status_answer(status, Rate(), {})  # raises where it cannot be shown
            if not self._over:
                self._more = more
                self._trail.extend(rows)
                self._note(status)
        except ConnectError as exc:
            self._trouble = str(exc)
        except Exception as exc:  # nobody waits for this task: what it raised would be seen nowhere
            self._trouble = f"What the master has answered cannot be shown: {type(exc).__name__}: {exc}"[:500]
        self._asked_at = self._clock()

    def _ask_all(self) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
        status = dict(self._master.ask("look", "status", {}))
        after = self._trail[-1]["seq"] if self._trail else 0
        rows = self._look("trail", {"after": after}) or {"rows": []} if status.get("trail", 1) > after else {"rows": []}
        slaves = self._look("slaves", {"after": 0, "most": MOST_SLAVES_SHOWN}) or {"rows": []}
        more = {"slaves": slaves["rows"][:MOST_SLAVES_SHOWN], "slaves_known": slaves.get("slaves", len(slaves["rows"]))}
        more["slaves_gone_before"] = slaves.get("gone_before", 0)
        return status, more, list(rows["rows"])

    def _look(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """Return something that this master may not know, or not give; None then, and the page says
        so.
        """
        if what in self._unknown:
            return None
        try:
            found = self._master.ask("look", what, dict(arguments))
        except LineRefused as exc:
            self._refused[what] = exc.why
            if "there is nothing called" in exc.why:
                self._unknown.add(what)
                self._refused[what] = "it runs an older Taskmaster, which does not have that"
            return None
        self._refused.pop(what, None)
        return found

    def _note(self, status: dict[str, Any]) -> None:
        now = self._clock()
        self._trouble, self._seen_at = "", now
        before, self._status = self._status, status
        if before is not None and before.get("incarnation") != status.get("incarnation"):
            self._history.clear()
            self._history_seq.clear()
        if before is not None and before.get("run") != status.get("run"):
            self._trail.clear()  # its numbers say nothing of those of another run
        elapsed, settled = float(status.get("elapsed", 0.0)), int(status.get("settled_here", 0))
        anew = before is None or elapsed < float(before.get("elapsed", 0.0))
        if anew:
            self._rate = Rate()
        self._rate.add(elapsed, settled, status.get("working"), float(status.get("share_here") or 0.0))
        if self._over:
            return
        held = status.get("state") not in (RunState.RUNNING, RunState.RESUMING, RunState.FINISHED)
        sample = {"at": now, "settled": int(status.get("settled", 0)), "failed": int(status.get("failed", 0))}
        why = status.get("why")
        code = why.get("code") if isinstance(why, dict) else why
        self._samples.append({**sample, "held": str(code or "held") if held else ""})

    def _read_history(self, span: str) -> None:
        """Take what the master's history has got since it was read last."""
        while True:
            since = self._history_seq.get(span, 0)
            found = self._look("history", {"span": span, "since_seq": since})
            if not found:
                return
            if found["seq"] < since:  # of a new session: its numbers begin anew
                self._history.pop(span, None)
            kept = self._history.setdefault(span, deque(maxlen=MOST_HISTORY_ROWS))
            held = found["held"]
            for row in found["rows"]:
                values = dict(zip(found["columns"], row, strict=False))
                values["held"] = held[int(values.get("held") or 0)]
                kept.append(values)
            self._history_seq[span] = found["seq"]
            if not found["rows"] or not found["left"]:
                return
