"""What a master answers to a hello, as a slave reads it; connections are in tests/process."""

from __future__ import annotations

from typing import Any

import pytest

from taskmaster.model import Answer
from taskmaster.slave.master_link import Welcome

WELCOME = {"ok": True, "run": "r", "incarnation": "i", "lease": 60, "job_timeout": 2, "taken": [("t", 3, "n")]}


def test_a_welcome_is_read_whole() -> None:
    """With its types, and with what an older master leaves out."""
    welcome = Welcome.from_wire(WELCOME)

    assert (welcome.run, welcome.incarnation, welcome.lease, welcome.job_timeout) == ("r", "i", 60.0, 2.0)
    assert welcome.taken == (("t", 3, "n"),)
    assert welcome.warning == ""

    welcome = Welcome.from_wire({**WELCOME, "job_timeout": None, "warn": "x" * 5000})

    assert welcome.job_timeout is None
    assert len(welcome.warning) == 1000


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**WELCOME, "lease": "long"},
        {**WELCOME, "job_timeout": "soon"},
        {**WELCOME, "taken": 7},
        {**WELCOME, "taken": [("t",)]},
        {key: value for key, value in WELCOME.items() if key != "incarnation"},
    ],
)
def test_what_is_no_welcome_is_refused(value: Any) -> None:
    """The connection is given up then; the slave goes on trying."""
    with pytest.raises(ValueError, match="makes no sense"):
        Welcome.from_wire(value)


@pytest.mark.parametrize("number", [10**400, float("inf")], ids=["huge", "infinite"])
def test_a_number_that_cannot_be_one_is_an_answer_without_meaning(number: float) -> None:
    """Of a master of another version: the slave asks again, instead of an error of its own."""
    with pytest.raises(ValueError, match="not an answer"):
        Answer.from_wire(("run", 0.5, (), (("t", number),), (), (("t", number, 1),), float("nan"), 10**400))
    with pytest.raises(ValueError, match="makes no sense"):
        Welcome.from_wire({"incarnation": "i", "run": "r", "lease": 10**400, "taken": [("t", number, "n")]})
