"""The line of a child process that has no key: what may be asked there, and by whom."""

from __future__ import annotations

import socket
import threading

import pytest

from taskmaster.errors import ConnectError
from taskmaster.transport.line import METHODS_OF, Line, LineEnd, LineRefused, Role


@pytest.fixture
def lines():
    """Makes lines to an end that answers with what it was asked."""
    ends, threads, made = [], [], []

    def make(steer_token: str | None = "steer", answer=lambda method, *arguments: [method, *arguments]) -> Line:
        end = LineEnd(answer, steer_token)
        line = Line(end.open())
        thread = threading.Thread(target=end.serve, daemon=True)
        thread.start()
        ends.append(end)
        made.append(line)
        threads.append(thread)
        return line

    yield make
    for one in [*ends, *made]:
        one.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_anybody_may_look(lines):
    """Looking needs no token on the line; who comes in is the guard's matter."""
    assert lines().ask("look", "status", {}) == ["look", "status", {}]


def test_the_master_alone_lets_steer(lines):
    """Only who shows the token for steering may steer, whatever the child believes."""
    line = lines()

    assert line.ask("steer", {"command": "pause"}, token="steer") == ["steer", {"command": "pause"}]
    for token in (None, "", "look", "steer ", "STEER", "\udcff"):
        with pytest.raises(LineRefused) as refused:
            line.ask("steer", {"command": "pause"}, token=token)
        assert refused.value.forbidden


def test_nobody_steers_where_none_may(lines):
    """A page that only shows has no token that steers."""
    line = lines(None)

    for token in (None, "", "None", "steer"):
        with pytest.raises(LineRefused, match="not allowed"):
            line.ask("steer", {}, token=token)


@pytest.mark.parametrize(
    "method", ["hello", "exchange", "bye", "failures", "status", "closed", "__class__", "", None, 7, ["look"]], ids=repr
)
@pytest.mark.parametrize("token", [None, "steer"])
def test_a_child_cannot_do_what_slaves_do(lines, method, token):
    """A child that was taken over can neither take batches nor report, with whatever token."""
    with pytest.raises(LineRefused) as refused:
        lines().ask(method, token=token)

    assert refused.value.forbidden


def test_roles_have_no_method_of_slaves():
    """Looking is part of steering, and nothing else is in either."""
    assert METHODS_OF[Role.LOOK] < METHODS_OF[Role.STEER]
    assert not METHODS_OF[Role.STEER] & {"hello", "exchange", "bye"}


def test_an_error_is_told_and_the_line_goes_on(lines):
    """What the master cannot do is told as a sentence."""

    def answer(_method: str, what: str) -> str:
        if what == "bad":
            raise ValueError("there is nothing called 'bad' to look at here")
        return what

    line = lines(answer=answer)

    with pytest.raises(LineRefused, match="nothing called") as refused:
        line.ask("look", "bad")
    assert not refused.value.forbidden
    assert line.ask("look", "good") == "good"


@pytest.mark.parametrize("said", [b"\x00" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 4096], ids=len)
def test_nonsense_ends_the_line(said):
    """An end that is sent no frame closes the line instead of waiting or failing."""
    end = LineEnd(lambda *_: None, None)
    other = end.open()
    thread = threading.Thread(target=end.serve, daemon=True)
    thread.start()
    other.sendall(said)
    other.shutdown(socket.SHUT_WR)

    thread.join(30)

    assert not thread.is_alive()
    end.close()
    other.close()


def test_a_master_that_is_gone_is_an_error():
    """The child is told that the master does not answer."""
    end = LineEnd(lambda *_: None, None)
    line = Line(end.open())
    end.close()

    with pytest.raises(ConnectError, match="does not answer"):
        line.ask("look", "status", {})
    line.close()
