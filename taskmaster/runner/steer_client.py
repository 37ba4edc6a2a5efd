"""A client's side of steering: what ``tm-ctl`` and ``taskmaster.control`` ask a running master."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from typing import Any

from taskmaster.errors import ConnectError, UsageError
from taskmaster.master.why import WhyCode
from taskmaster.redaction import clean_short
from taskmaster.runner import control
from taskmaster.runner.answer_shapes import readable
from taskmaster.runner.steer_state import user_here
from taskmaster.transport import client

__all__ = ["SteerClient", "status_of"]

WRITTEN_SECONDS = 2.0  # longest wait of a client until its change is in the state
LONGEST_RELEASE = 50  # characters of a version
WAIT_STEP_SECONDS = 0.05  # between two checks meanwhile


class SteerClient:
    """Asks one master, over a connection that is kept.

    Args:
        host: Where the master is, ``HOST:PORT``.
        key: The shared key.
        key_file: A file with it.
        via: What the request comes from: "tm-ctl" or "script".
        state: The state file in whose lock the address was found; "" if it was given.
    """

    def __init__(
        self, host: str, key: str | None = None, key_file: str | None = None, *, via: str, state: str = ""
    ) -> None:
        self.host = host
        self._state = state
        self._key = key
        self._key_file = key_file
        self._via = via
        self._connection: client.MasterConnection | None = None
        self._run = ""  # the id of the run that is asked, as soon as it is known
        self._release = ""  # of its master

    def steer(self, command: str, arguments: Mapping[str, str] | None = None, reason: str = "") -> dict[str, Any]:
        """Ask for a change; return the master's answer.

        Raises:
            UsageError: The master refuses it, and says why.
            ConnectError: It cannot be reached, or cannot be steered.
        """
        request = {
            "id": uuid.uuid4().hex,
            "command": command,
            "by": {"user": user_here(), "host": socket.gethostname(), "pid": os.getpid(), "via": self._via},
            "reason": reason,
            "arguments": dict(arguments or {}),
        }
        self._connected()
        request["run"] = self._run
        try:
            answer = self._call("steer", request)
        except client.Declined:
            raise
        except ConnectError:
            # The answer may be lost although the request was heard: the same again changes nothing.
            answer = self._call("steer", request)
        if not answer.get("ok"):
            raise UsageError(str(answer.get("why")))
        return dict(answer)

    def look(self, what: str, **arguments: Any) -> Any:
        """Return what there is to see; nothing is changed.

        Raises:
            ConnectError: The master cannot be reached, or cannot answer that.
        """
        return self._call("look", what, arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Ask what somebody else has put together, and return the answer as it is.

        Raises:
            ConnectError: The master cannot be reached, or could not do it.
        """
        return self._call(method, *arguments)

    def status(self) -> dict[str, Any]:
        """Return how the run stands; an older master, which knows no such look, says less.

        Raises:
            ConnectError: The master cannot be reached, or could not say it.
        """
        try:
            return dict(self.look("status"))
        except client.Declined as exc:
            if not exc.unknown:
                raise
            return dict(self._readable("status", self._connected().call("status")))

    def trail(self, most: int | None = None) -> list[dict[str, Any]]:
        """Return the newest rows of the trail, oldest first; None: all that the master has."""
        rows: list[dict[str, Any]] = []
        while most is None or len(rows) < most:
            page = self.look("trail", **({"before": rows[0]["seq"]} if rows else {}))["rows"]
            if not page or (rows and page[-1]["seq"] >= rows[0]["seq"]):  # an older master knows no ``before``
                break
            rows[:0] = page
        return rows if most is None else rows[-most:]

    def wait_written(self, row: int, seconds: float = WRITTEN_SECONDS) -> str:
        """Wait until a row of the trail is in the state.

        Returns:
            "" when it is; else why it is not yet.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = self.status()
            if found.get("trail_saved", row) >= row:
                return ""
            if time.monotonic() >= deadline:
                why = found.get("why")
                return str(why["sentence"]) if why and why["code"] == WhyCode.STATE else "no checkpoint was made so far"
            time.sleep(WAIT_STEP_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> client.MasterConnection:
        if self._connection is None:
            connection = self._connect()
            try:
                self._see_that_it_is_the_run(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _connect(self) -> client.MasterConnection:
        try:
            return control.connect(self.host, self._key, self._key_file)
        except ConnectError as exc:
            if self._state and isinstance(exc.__cause__, ConnectionRefusedError):
                raise ConnectError(
                    f"The master at work on {self._state} does not listen at {self.host} any more: it is about to end. "
                    "Ask again in a moment."
                ) from exc
            raise

    def _see_that_it_is_the_run(self, connection: client.MasterConnection) -> None:
        """Refuse another run, whose master has taken the place of the one that was asked before."""
        status = self._readable("status", connection.call("status"))
        run = status.get("run") or ""
        self._release = clean_short(status.get("release"), LONGEST_RELEASE)
        if self._run and run != self._run:
            raise ConnectError(
                f"The master at {self.host} is at work on another run by now: it was asked for the run {self._run}, "
                f"and has the run {run}."
            )
        self._run = run

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            what = arguments[0] if method == "look" else method
            return self._readable(str(what), self._connected().call(method, *arguments))
        except client.Declined as exc:
            if "there is no method" in exc.why:
                raise client.Declined(
                    self._connected().address,
                    "it runs an older Taskmaster, which cannot be steered; install this one there, and start the run "
                    "again: it goes on where it was",
                    unknown=True,
                ) from exc
            raise
        except ConnectError:
            self.close()
            raise

    def _readable(self, what: str, answer: Any) -> Any:
        return readable(what, answer, self.host, self._release)


def status_of(host: str, key: str | None, key_file: str | None) -> dict[str, Any]:
    """Return what a running master says of its run.

    Raises:
        ConnectError: There is none, or it has another key.
    """
    client = SteerClient(host, key, key_file, via="tm-ctl")
    try:
        return client.status()
    finally:
        client.close()
