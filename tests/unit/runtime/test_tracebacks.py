"""An exception in one line."""

from __future__ import annotations

import pytest

from taskmaster.runtime.tracebacks import one_line, reason


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("exc", "line", "why"),
    [
        (ValueError("a\n  b"), "ValueError: a b", "a b"),
        (ValueError(), "ValueError", "ValueError"),
        (PermissionError(13, "Permission denied", "f"), "PermissionError: [Errno 13] Permission denied: 'f'",
         "Permission denied"),
        (Broken(), "Broken", "Broken"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)  # fmt: skip
def test_an_exception_is_said_in_one_line(exc: BaseException, line: str, why: str) -> None:
    """With its class, or as the reason in a sentence; a broken one without its message."""
    assert one_line(exc) == line
    assert reason(exc) == why
