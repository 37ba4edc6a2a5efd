"""Progress on the terminal: a bar, a line now and then, or JSON.

Called by ``taskmaster.view.console`` from the main thread (``update``, ``close``) and from the
threads that bring the callbacks' output (``write``). It decides itself when to draw, so that it can
be told as often as one likes; and nothing that goes wrong with the terminal stops a run, which can
do without a spectator.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, TextIO
from weakref import WeakSet

from taskmaster.view.snapshot import Snapshot
from taskmaster.view.status import Rate, status_line, to_json

__all__ = ["TIME_OF_DAY", "Cadence", "Progress"]

REDRAW = 0.25  # seconds between two drawings of the bar
FIRST = 1.0  # seconds after which the first line is written, and a missing slave is missed
OFTEN, SELDOM = 5.0, 30.0  # seconds between two lines, in the first minute and later
MINUTE = 60.0
TIME_OF_DAY = "%Y-%m-%d %H:%M:%S%z"  # as log lines have it
NARROWEST = 8  # columns below which a bar says nothing


class Cadence:
    """When the next line is due: after a second, then every 5 seconds for a minute, then every 30.

    Args:
        began: now, in seconds of a clock that never goes back.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._last = began
        self._next = began + FIRST
        self._about: object = None

    def due(self, now: float, about: object) -> bool:
        """Whether to write a line now; if so, the next one is put off.

        Args:
            now: the clock.
            about: what a person waits to hear of. When it changes, the line comes early: a second
                after the one before.
        """
        if about != self._about:
            self._about = about
            self._next = min(self._next, self._last + FIRST)
        if now < self._next:
            return False
        self._last = now
        self._next = now + (OFTEN if now - self._began < MINUTE else SELDOM)
        return True


class Progress:
    """Shows snapshots.

    Args:
        mode: "bar"; "lines"; "json", one object a line on ``out``; "none"; or "auto": a bar on a
            terminal, else lines.
        stream: where people read.
        out: where programs read.
        clock: seconds that never go back.
        slave_command: the command that starts a slave, shown while there is none; "" if one was
            brought along.
        now: the time of day, before each line: in a log of three days one asks when.
    """

    def __init__(
        self,
        mode: str,
        stream: TextIO = sys.stderr,
        out: TextIO = sys.stdout,
        clock: Callable[[], float] = time.monotonic,
        slave_command: str = "",
        now: Callable[[], str] = lambda: time.strftime(TIME_OF_DAY),
    ) -> None:
        self._mode = _resolve(mode, stream)
        self._stream = stream
        self._out = out
        self._clock = clock
        self._slave_command = slave_command
        self._now = now
        self._rate = Rate()
        self._cadence = Cadence(clock())
        self._drawn = clock()
        self._closed = False
        self._bar: _Bar | None = None
        # Log lines may be written while something is being drawn, also by the thread that draws.
        self._lock = threading.RLock()

    def update(self, snapshot: Snapshot) -> None:
        """Take in how things stand, and show it if it is time to."""
        with self._lock:
            if self._closed:
                return
            self._rate.add(snapshot.elapsed, snapshot.settled_here)
            now = self._clock()
            if self._mode == "bar":
                if self._bar is None or now - self._drawn >= REDRAW:
                    self._drawn = now
                    self._draw(snapshot)
            elif self._mode != "none" and self._cadence.due(now, (snapshot.state, snapshot.slaves == 0)):
                self._print(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show the end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._rate.add(snapshot.elapsed, snapshot.settled_here)
            if self._mode == "bar":
                self._draw(snapshot)
                if self._bar is not None:
                    self._bar.close()
                    self._bar = None
            elif self._mode != "none":
                self._print(snapshot)

    def write(self, line: str, stream: TextIO) -> None:
        """Write a line above the bar; whatever thread calls it, no line is torn.

        In mode "json", what callbacks print to ``out`` goes to ``stream`` instead: ``out`` is for
        programs then.
        """
        with self._lock:
            if self._mode == "json" and stream is self._out:
                stream = self._stream
            if self._bar is None or not _same_screen(stream, self._stream):
                _put(line, stream)
                return
            self._bar.hide()
            _put(line, stream)
            self._bar.show()

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
        if self._mode == "json":
            _put(json.dumps(to_json(snapshot, self._rate)), self._out)
        else:
            _put(f"{self._now()} {status_line(snapshot, self._rate, self._slave_command)}", self._stream)


class _Bar:
    """The status line with what is done drawn behind it, by tqdm: one line that is drawn over and
    over.
    """

    def __init__(self, stream: TextIO) -> None:
        # Imported here, because it takes longer than all the rest of the view, and most commands
        # draw nothing.
        from tqdm.std import tqdm
        from tqdm.utils import disp_len, disp_trim

        class OwnTqdm(tqdm):  # type: ignore[type-arg]  # it iterates over nothing
            """Leaves what a script does with tqdm itself alone: no monitor thread, and a list of
            bars of its own.
            """

            monitor_interval = 0
            _instances: ClassVar[Any] = WeakSet()
            # A lock of tqdm's own making would be one between processes, for which Python may start
            # a process.
            _lock: ClassVar[Any] = threading.RLock()

        self._make = OwnTqdm
        self._length, self._cut = disp_len, disp_trim
        self._sink = _Sink(stream)
        self._tqdm: OwnTqdm | None = None
        self._width = 0

    def draw(self, text: str, done: int, total: int | None, width: int) -> None:
        """Draw it.

        Args:
            text: the status line; cut where the screen ends.
            done: jobs settled.
            total: of how many; None if unknown.
            width: columns that may be used.
        """
        text = self._cut(text, width)
        if not total or done > total or width - self._length(text) < NARROWEST:
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
        """Take it off the screen, so that a line can be written in its place."""
        if self._tqdm is not None:
            self._tqdm.clear()

    def show(self) -> None:
        """Put it back."""
        if self._tqdm is not None:
            self._tqdm.refresh()

    def close(self) -> None:
        """Leave it as it is, and go on in the next line."""
        if self._tqdm is not None:
            self._tqdm.close()


class _Sink:
    """The stream as tqdm is given it: writing to it never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None)  # from which tqdm sees what it can draw with

    def write(self, text: str) -> None:
        _write(text, self._stream)

    def flush(self) -> None:
        """Every write is whole, and flushed."""


def _resolve(mode: str, stream: TextIO) -> str:
    if mode != "auto":
        return mode
    return "bar" if _is_terminal(stream) and os.environ.get("TERM") != "dumb" else "lines"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False


def _same_screen(stream: TextIO, other: TextIO) -> bool:
    return stream is other or (_is_terminal(stream) and _is_terminal(other))


def _put(line: str, stream: TextIO) -> None:
    """Write one whole line, at once."""
    _write(line if line.endswith("\n") else line + "\n", stream)


def _write(text: str, stream: TextIO) -> None:
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (AttributeError, OSError, ValueError):
        pass  # the terminal or the pipe is gone; the run is not


def _width(stream: TextIO) -> int:
    """Columns that can be written to: one less than there are, because some terminals wrap after
    the last one.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (AttributeError, OSError, ValueError):
        columns = shutil.get_terminal_size().columns
    return max((columns or 80) - 1, 1)
