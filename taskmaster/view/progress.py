"""Progress on the terminal: a bar, a line now and then, or JSON.

``update`` may be called at any rate: ``Progress`` decides when to draw. The main thread calls
``update`` and ``close``; other threads call ``write`` with what callbacks print. No error of the
terminal stops the run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, ClassVar, TextIO
from weakref import WeakSet

from taskmaster.runtime.log import TIME_OF_DAY, clean_logger
from taskmaster.runtime.lost_output import failure_of, sentence_about
from taskmaster.view.snapshot import Snapshot
from taskmaster.view.status import Rate, status_line, to_json

__all__ = ["Cadence", "Progress", "ProgressMode"]

logger = clean_logger(__name__)

REDRAW_SECONDS = 0.25  # between two drawings of the bar
FIRST_LINE_SECONDS = 1.0  # until the first line, and until a missing slave is mentioned
EARLY_LINE_SECONDS, LATE_LINE_SECONDS = 5.0, 30.0  # between two lines, in the first minute and later
EARLY_SECONDS = 60.0
NARROWEST_BAR = 8  # columns; a shorter bar says nothing


class ProgressMode(StrEnum):
    """How progress is shown."""

    BAR = "bar"
    LINES = "lines"
    JSON = "json"
    """An object a line, for programs."""
    NONE = "none"


class Cadence:
    """Tells when the next line is due: after a second, then every 5 seconds for a minute, then
    every 30.

    Args:
        began: Monotonic seconds at the start.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._last = began
        self._next = began + FIRST_LINE_SECONDS
        self._about: object = None

    def due(self, now: float, about: object) -> bool:
        """Return whether a line is due now; if so, the next one is put off.

        Args:
            now: Monotonic seconds.
            about: A value whose change makes a line due early, a second after the one before.
        """
        if about != self._about:
            self._about = about
            self._next = min(self._next, self._last + FIRST_LINE_SECONDS)
        if now < self._next:
            return False
        self._last = now
        self._next = now + (EARLY_LINE_SECONDS if now - self._began < EARLY_SECONDS else LATE_LINE_SECONDS)
        return True


class Progress:
    """Shows snapshots.

    Args:
        mode: A ``ProgressMode``, of which JSON goes to ``out``; or "auto", which is a bar on a
            terminal and lines elsewhere.
        stream: The stream for people.
        out: The stream for programs.
        clock: Monotonic seconds.
        slave_command: The command that starts a slave, shown while there is none; "" if the run
            brings its own slave.
        now: The time of day that stands before each line.
        describe: Gives the status of the run for programs; None: the snapshot is all there is.
        wall: Seconds since the epoch.
    """

    def __init__(
        self,
        mode: str,
        stream: TextIO = sys.stderr,
        out: TextIO = sys.stdout,
        clock: Callable[[], float] = time.monotonic,
        slave_command: str = "",
        now: Callable[[], str] = lambda: time.strftime(TIME_OF_DAY),
        describe: Callable[[Snapshot], dict[str, Any]] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._mode = _resolve(mode, stream)
        self._stream = stream
        self._out = out
        self._clock = clock
        self._slave_command = slave_command
        self._now = now
        self._describe = describe
        self._rate = Rate()
        self._cadence = Cadence(clock())
        self._drawn = clock()
        self._closed = False
        self._bar: _Bar | None = None
        # Log lines may be written while something is being drawn, also by the thread that draws.
        self._lock = threading.RLock()
        self._lost = ""  # why lines are missing in standard output

    @property
    def problem(self) -> str:
        """What a person should know of lines that are missing in standard output, "" if none is."""
        return sentence_about("standard output", self._lost) if self._lost else ""

    def update(self, snapshot: Snapshot) -> None:
        """Note the snapshot, and show it if a drawing or a line is due."""
        with self._lock:
            if self._closed:
                return
            self._note(snapshot)
            now = self._clock()
            if self._mode is ProgressMode.BAR:
                if self._bar is None or now - self._drawn >= REDRAW_SECONDS:
                    self._drawn = now
                    self._draw(snapshot)
            elif self._mode is not ProgressMode.NONE and self._cadence.due(now, (snapshot.state, snapshot.slaves == 0)):
                self._print(snapshot)

    def _note(self, snapshot: Snapshot) -> None:
        done = snapshot.settled_here, snapshot.working, snapshot.share_here
        self._rate.add(snapshot.elapsed, *done, snapshot.rate_limit)

    def close(self, snapshot: Snapshot) -> None:
        """Show the last snapshot."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._note(snapshot)
            if self._mode is ProgressMode.BAR:
                self._draw(snapshot)
                if self._bar is not None:
                    self._bar.close()
                    self._bar = None
            elif self._mode is not ProgressMode.NONE:
                self._print(snapshot)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Show an event, in mode "json"."""
        if self._mode is ProgressMode.JSON:
            with self._lock:
                self._keep(_put(json.dumps(event), self._out), self._out)

    def write(self, line: str, stream: TextIO) -> None:
        """Write a line above the bar. Any thread may call this; lines stay whole.

        In mode "json", what callbacks print to ``out`` goes to the stream for people instead,
        because programs read ``out`` then.
        """
        with self._lock:
            if self._mode is ProgressMode.JSON and stream is self._out:
                stream = self._stream
            if self._bar is None or not _same_screen(stream, self._stream):
                self._keep(_put(line, stream), stream)
                return
            self._bar.hide()
            _put(line, stream)
            self._bar.show()

    def _keep(self, why: str, stream: TextIO) -> None:
        """Remember that a line is missing in standard output."""
        if why and stream is self._out:
            if not self._lost:
                logger.warning("standard output cannot be written: %s; what is printed is lost", why)
            self._lost = why

    def _draw(self, snapshot: Snapshot) -> None:
        width = _width(self._stream)
        text = status_line(snapshot, self._rate, self._slave_command, width)
        if self._bar is None:
            self._bar = _Bar(self._stream)
        done, total = snapshot.settled, snapshot.total
        if snapshot.share is not None:
            done, total = int(1000 * snapshot.share), 1000
        self._bar.draw(text, done, total, width)

    def _print(self, snapshot: Snapshot) -> None:
        if self._mode is ProgressMode.JSON:
            found = self._found(snapshot)
            line = json.dumps({"event": "progress", "at": round(self._wall(), 3), **found})
            self._keep(_put(line, self._out), self._out)
        else:
            _put(f"{self._now()} {status_line(snapshot, self._rate, self._slave_command)}", self._stream)

    def _found(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what programs are told: of the snapshot alone, where the status cannot be had."""
        if self._describe is not None:
            try:
                return self._describe(snapshot)
            except Exception as exc:  # the work goes on, whatever is shown of it
                logger.debug("the status cannot be described: %s", exc, exc_info=True)
        return to_json(snapshot, self._rate)


class _Bar:
    """The status line with a bar behind it, drawn by tqdm again and again in one line of the
    terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        # Imported here, because it takes longer than all the rest of the view, and most commands
        # draw nothing.
        from tqdm.std import tqdm
        from tqdm.utils import disp_len, disp_trim

        class OwnTqdm(tqdm):  # type: ignore[type-arg]  # it iterates over nothing
            """A bar that does not touch what a script does with tqdm itself: it has no monitor
            thread, and a list of bars of its own.
            """

            monitor_interval = 0
            _instances: ClassVar[Any] = WeakSet()
            # tqdm's own lock works between processes, and Python may start a process for it.
            _lock: ClassVar[Any] = threading.RLock()

        self._make = OwnTqdm
        self._length, self._cut = disp_len, disp_trim
        self._sink = _TqdmStream(stream)
        self._tqdm: OwnTqdm | None = None
        self._width = 0

    def draw(self, text: str, done: int, total: int | None, width: int) -> None:
        """Draw the line and the bar.

        Args:
            text: The status line. It is cut where the screen ends.
            done: Settled jobs.
            total: All jobs; None if unknown.
            width: Columns that may be used.
        """
        text = self._cut(text, width)
        if not total or done > total or width - self._length(text) < NARROWEST_BAR:
            total = None
        bar_format = "{desc} |{bar}|" if total else "{desc}"
        if self._tqdm is None:
            self._tqdm = self._make(
                file=self._sink,
                desc=text,
                total=total,
                initial=done,
                ncols=width,
                bar_format=bar_format,
                disable=False,
            )
        bar = self._tqdm
        if width < self._width:
            # The blanks that tqdm writes over the rest of a longer line would run on into the next
            # one.
            bar.sp = bar.status_printer(bar.fp)
        self._width = bar.ncols = width
        bar.desc, bar.n, bar.total, bar.bar_format = text, done, total, bar_format
        bar.refresh()

    def hide(self) -> None:
        """Remove the bar from the screen, so that a line can be written in its place."""
        if self._tqdm is not None:
            self._tqdm.clear()

    def show(self) -> None:
        """Draw the bar again after ``hide``."""
        if self._tqdm is not None:
            self._tqdm.refresh()

    def close(self) -> None:
        """Leave the bar as it is and go on in the next line."""
        if self._tqdm is not None:
            self._tqdm.close()


class _TqdmStream:
    """The stream that tqdm writes to. Writing never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None)  # from which tqdm sees what it can draw with

    def write(self, text: str) -> None:
        _write(text, self._stream)

    def flush(self) -> None:
        """Do nothing: every write is flushed already."""


def _resolve(mode: str, stream: TextIO) -> ProgressMode:
    if mode != "auto":
        return ProgressMode(mode)
    has_screen = _is_terminal(stream) and os.environ.get("TERM") != "dumb"
    return ProgressMode.BAR if has_screen else ProgressMode.LINES


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False


def _same_screen(stream: TextIO, other: TextIO) -> bool:
    return stream is other or (_is_terminal(stream) and _is_terminal(other))


def _put(line: str, stream: TextIO) -> str:
    """Write one whole line at once; return why it cannot be written, as ``_write`` does."""
    return _write(line if line.endswith("\n") else line + "\n", stream)


def _write(text: str, stream: TextIO) -> str:
    """Return why the text cannot be written, "" where it is, or where nobody would read it."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as exc:
        with suppress(OSError, ValueError):
            return failure_of(exc, stream.fileno())
    except (AttributeError, ValueError):
        pass  # the terminal or the pipe is gone; the run is not
    return ""


def _width(stream: TextIO) -> int:
    """Return the columns that can be used: one fewer than there are, because some terminals wrap
    after the last one.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, OSError, ValueError):
        import shutil

        columns = shutil.get_terminal_size().columns
    return max((columns or 80) - 1, 1)
