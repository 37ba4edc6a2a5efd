"""What Python would run of the user's code at the end of a program."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from taskmaster.slave.worker.finalizers import finalize, ignored, unclosed_stacks


def test_finalizers_and_finally_blocks_are_run_and_their_errors_said() -> None:
    """Each once, and those of what was begun only."""
    ran: list[str] = []

    class Rows:
        def __del__(self) -> None:
            ran.append("__del__")
            raise OSError("the disk is full")

    def writer() -> Iterator[int]:
        try:
            yield 1
        finally:
            ran.append("finally")

    rows, begun, not_begun = Rows(), writer(), writer()
    next(begun)
    said: list[str] = []
    kept = finalize(lambda name, exc: said.append(f"{name.rpartition('.')[2]}: {exc}"))

    assert sorted(ran) == ["__del__", "finally"]
    assert said == ["__del__: the disk is full"]
    assert any(one is rows for one in kept)
    del Rows.__del__, not_begun


def test_what_python_ignores_is_said_where_it_is_the_users() -> None:
    """Not what a library's finalizer raises."""

    class Rows:
        def __del__(self) -> None: ...

    def raised(where: Any) -> Any:
        return types.SimpleNamespace(object=where, exc_type=OSError)

    assert "OSError was raised in" in ignored(raised(Rows.__del__))
    assert ignored(raised(contextlib.ExitStack.close)) == ""
    assert ignored(raised(None)) == ""


def test_a_stack_of_a_module_that_was_never_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much of it did not run."""
    module = types.ModuleType("of_user")
    stack = contextlib.ExitStack()
    module.stack = stack  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "of_user", module)
    assert unclosed_stacks([stack]) == []

    stack.callback(print)
    assert unclosed_stacks([stack])[0].startswith(
        "of_user.stack was never closed, so that 1 function of it did not run"
    )
