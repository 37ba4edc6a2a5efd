"""A running run, steered from a script or a notebook.

::

    from taskmaster.control import Run

    with Run("backfill.tmstate") as run:
        run.pause(reason="deploy", duration="10m")

What is changed is in force when the call returns, is in the run's trail, and stays in force when
the run is started again, until it is taken back; see ``docs/steering.rst``.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskmaster.errors import UsageError
from taskmaster.runner import control
from taskmaster.runner.steer_client import SteerClient

__all__ = ["Run"]


class Run:
    """A run whose master is at work.

    It stays with that run: where another one has taken its place, ``ConnectError`` is raised.

    Args:
        where: The state file of the run, if its master is on this machine; else ``HOST:PORT``.
        key: The shared key of a master on another machine.
        key_file: A file with that key.

    Raises:
        UsageError: No master is at work on the state.
        ConnectError: The master cannot be reached.
    """

    def __init__(self, where: str | Path, *, key: str | None = None, key_file: str | None = None) -> None:
        text = str(where)
        is_state = isinstance(where, Path) or Path(text).exists() or ":" not in text
        self._client = SteerClient(control.master_of(text) if is_state else text, key, key_file, via="script")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def pause(self, reason: str = "", *, duration: str | float | None = None) -> dict[str, Any]:
        """Hand nothing more out; what runs is run to its end, what has not begun is given back.

        Args:
            reason: Why, for those who find the run paused.
            duration: The time after which it resumes by itself, in seconds or like "10m".
        """
        arguments = {} if duration is None else {"for": str(duration)}
        return self._client.steer("pause", arguments, reason)

    def resume(self, reason: str = "") -> dict[str, Any]:
        """Lift the hold."""
        return self._client.steer("resume", {}, reason)

    def rate(self, rate: float | str | None, reason: str = "") -> dict[str, Any]:
        """Hand out at most ``rate`` jobs a second, to all slaves together.

        Args:
            rate: Jobs a second, or a text like "30/m"; None: as many as the slaves can take;
                "default": what the command line says.
            reason: Why.
        """
        return self._client.steer("rate", {"rate": "off" if rate is None else str(rate)}, reason)

    def stop(self, reason: str = "", *, at_once: bool = False) -> dict[str, Any]:
        """End the run where it can go on, as a first SIGTERM does; ``at_once``, as a second one."""
        return self._client.steer("stop", {"now": "yes"} if at_once else {}, reason)

    def quiet(self, slave: str, reason: str = "", *, stay: bool = False, undo: bool = False) -> dict[str, Any]:
        """Give a slave nothing more, and let it end.

        Args:
            slave: "host:pid", or a host, which means all slaves there.
            reason: Why.
            stay: Whether it stays connected, and idle.
            undo: Whether it gets jobs again.
        """
        flags = {name: "yes" for name, given in (("stay", stay), ("undo", undo)) if given}
        return self._client.steer("quiet", {"slave": slave, **flags}, reason)

    def set(self, reason: str = "", **settings: Any) -> dict[str, Any]:
        """Change settings of the run, such as ``retries=5`` or ``job_timeout="default"``."""
        if not settings:
            raise UsageError("Nothing is to be set: give settings as keywords, such as retries=5.")
        return self._client.steer("set", {name: str(value) for name, value in settings.items()}, reason)

    def retry(self, reason: str = "", *, kind: str | None = None, job: str | None = None) -> dict[str, Any]:
        """Run failed jobs again while the run goes on: all of them, or those of a kind, or one.

        Args:
            reason: Why.
            kind: The class of exception that they failed with at last.
            job: The key of a job, as it is shown.
        """
        chosen = {name: value for name, value in (("kind", kind), ("job", job)) if value is not None}
        return self._client.steer("retry", chosen or {"all": "yes"}, reason)

    def note(self, text: str) -> dict[str, Any]:
        """Write something into the trail."""
        return self._client.steer("note", {}, text)

    def status(self) -> dict[str, Any]:
        """Return how the run stands, as ``tm-ctl status --json`` has it."""
        return self._client.status()

    def slaves(self) -> list[dict[str, Any]]:
        """Return the figures of each slave."""
        return self._all("slaves")

    def trail(self) -> list[dict[str, Any]]:
        """Return who changed what, oldest first; a master has the newest thousand rows."""
        return self._client.trail()

    def history(self, span: str = "10m", since: int = 0) -> dict[str, Any]:
        """Return the numbers of the run over time.

        Args:
            span: "10m" by the second, "6h" by ten seconds, or "all" by five minutes.
            since: Number of the last row that is known already (``seq`` of the answer before); 0:
                from the first.

        Returns:
            ``columns``, ``rows`` (oldest first, at most 500), ``seq`` of the last one, how many are
            ``left`` for the next call, ``seconds`` between two, and in ``held`` what the numbers of
            that column mean.
        """
        found: dict[str, Any] = self._client.look("history", span=span, since_seq=since)
        return found

    def kinds(self) -> list[dict[str, Any]]:
        """Return what jobs have failed with, the most frequent kind first."""
        return self._all("kinds")

    def settings(self) -> list[dict[str, Any]]:
        """Return each setting with its value and where that comes from."""
        found: list[dict[str, Any]] = self._client.look("settings")
        return found

    def close(self) -> None:
        """Close the connection; the run goes on."""
        self._client.close()

    def _all(self, what: str) -> list[dict[str, Any]]:
        """Return a list that the master gives page by page."""
        found: list[dict[str, Any]] = []
        while page := self._client.look(what, after=len(found))["rows"]:
            found += page
        return found
