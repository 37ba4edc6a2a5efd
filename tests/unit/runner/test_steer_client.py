"""A client of a master that is not at the same place all the time."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster.errors import ConnectError
from taskmaster.runner import control
from taskmaster.runner.steer_client import SteerClient
from taskmaster.transport.address import Address
from taskmaster.transport.client import Declined

TEXTS = ("command", "user", "host", "peer", "via", "reason", "before", "after")


class Place:
    """An address at which masters of runs come and go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = "r1"
        self.closed = 0
        self.declines = ""
        self.heard: list[tuple[str, Any]] = []
        self.trail = [{**dict.fromkeys(TEXTS, "x"), "seq": number, "at": 1.0} for number in range(1, 1001)]
        monkeypatch.setattr(control, "connect", lambda *_: Connection(self))


class Connection:
    """To the master that was there when it was made."""

    address = Address("h", 1)

    def __init__(self, place: Place) -> None:
        self._place = place
        self._run = place.run

    def call(self, method: str, *arguments: Any) -> Any:
        """As a connection to a master."""
        place = self._place
        if place.run != self._run:
            raise ConnectError("broken")
        if method == "steer":
            place.heard.append((self._run, arguments[0]))
            return {"ok": True, "say": "It is.", "changed": True, "trail": 1}
        if method == "look" and place.declines:
            raise Declined(self.address, place.declines)
        if method == "look" and arguments[0] == "trail":
            before = arguments[1].get("before", 10**9)
            return {"rows": [row for row in place.trail if row["seq"] < before][-200:]}
        return {"run": self._run, "state": "running"}

    def close(self) -> None:
        """Count it."""
        self._place.closed += 1


def test_an_order_never_reaches_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose master has taken the place of the one that was meant: each order says which it is."""
    place = Place(monkeypatch)
    client = SteerClient("h:1", via="script")
    client.steer("pause")
    place.run = "r2"

    for ask in (lambda: client.steer("stop"), client.status, lambda: client.look("trail")):
        with pytest.raises(ConnectError, match="asked for the run r1, and has the run r2"):
            while True:  # the connection breaks first
                try:
                    ask()
                except ConnectError as exc:
                    if "broken" not in str(exc):
                        raise
    assert [(run, request["run"]) for run, request in place.heard] == [("r1", "r1")]

    place.run = "r1"
    assert client.status()["run"] == "r1"


def test_the_whole_trail_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows one answer has."""
    client = SteerClient("h:1", via="script")
    place = Place(monkeypatch)

    assert client.trail() == place.trail
    assert client.trail(300) == place.trail[-300:]


@pytest.mark.parametrize(
    ("state", "cause", "said"),
    [
        ("a.tmstate", ConnectionRefusedError(), "The master at work on a.tmstate does not listen at h:1 any more"),
        ("a.tmstate", TimeoutError(), "No master can be reached"),
        ("", ConnectionRefusedError(), "No master can be reached"),
    ],
)
def test_a_master_that_is_about_to_end_is_not_said_to_be_somewhere_else(
    state: str, cause: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is locked until its page has shown the end; nobody has given a --host to check."""

    def refuse(*_: Any) -> None:
        raise ConnectError("No master can be reached") from cause

    monkeypatch.setattr(control, "connect", refuse)
    with pytest.raises(ConnectError, match=said):
        SteerClient("h:1", via="tm-ctl", state=state).status()


@pytest.mark.parametrize(
    "words", ["there is no method 'look' here", "ValueError: there is nothing called 'status' to look at here"]
)
def test_an_older_master_is_asked_in_the_older_way(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has never heard of what it was asked for."""
    Place(monkeypatch).declines = words

    assert SteerClient("h:1", via="script").status() == {"run": "r1", "state": "running"}


@pytest.mark.parametrize("words", ["OSError: [Errno 28] No space left", "RecursionError: too deep", "no longer here"])
def test_a_master_that_could_not_say_how_the_run_stands_is_not_taken_for_an_older_one(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is passed on: the older answer says less, and nobody would know."""
    Place(monkeypatch).declines = words
    with pytest.raises(Declined, match="could not do it") as caught:
        SteerClient("h:1", via="script").status()

    assert (caught.value.why, caught.value.unknown) == (words, False)
