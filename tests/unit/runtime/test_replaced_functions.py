"""Functions of Python's in whose place a program has put others."""

from __future__ import annotations

import decimal
import functools
import json
import threading

import pytest

from taskmaster.errors import TargetError
from taskmaster.runtime import replaced_functions

dumps, loads = json.dumps, json.loads


class NeverStarted(threading.Thread):
    def start(self) -> None:
        pass


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (json, "dumps", functools.partial(dumps, sort_keys=True)),
        (json, "loads", functools.partial(loads, parse_float=decimal.Decimal)),
        (threading, "Thread", type("Other", (threading.Thread,), {})),
    ],
)
def test_what_does_the_same_serves(monkeypatch: pytest.MonkeyPatch, module: object, name: str, other: object) -> None:
    """Whoever has written it."""
    replaced_functions.check("jobs.py")
    monkeypatch.setattr(module, name, other)
    replaced_functions.check("jobs.py")


@pytest.mark.parametrize(
    ("module", "name", "other", "said"),
    [
        (json, "dumps", lambda o, **_: dumps(o).encode(), "json.dumps.. gives bytes.: jobs.py, or what"),
        (json, "dumps", lambda o: dumps(o, indent=1), "json.dumps.. gives several lines"),
        (json, "dumps", lambda o, **_: str(o), "json does not do what Python's does .JSONDecodeError"),
        (json, "loads", lambda *_, **__: None, "json .* is read as something else"),
        (threading, "Thread", NeverStarted, "threading.Thread .* was started and does not run"),
    ],
)
def test_what_does_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, other: object, said: str
) -> None:
    """Before there is a state, which would be damaged."""
    monkeypatch.setattr(replaced_functions, "THREAD_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(module, name, other)
    with pytest.raises(TargetError, match=said):
        replaced_functions.check("jobs.py")


def test_a_system_that_gives_no_thread_has_replaced_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that is reached is what has to be said."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        replaced_functions.check("jobs.py")
