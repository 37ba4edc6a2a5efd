"""How a pace is written, and what it allows."""

from __future__ import annotations

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards.pace import Pace, PaceLimit, pace_of


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("1.5x", 0.003), (" 3X ", 0.006), ("1.1x", 0.0022), ("20ms", 0.02), ("0.1s", 0.1), ("0.5 ms", 0.0005)],
)
def test_a_limit_is_times_or_a_time(text: str, allowed: float) -> None:
    """Of a probe that takes 2 ms without the run."""
    assert PaceLimit.read(text).allowed(0.002) == pytest.approx(allowed)


@pytest.mark.parametrize(
    "text",
    ["", "1x", "1.09x", "0x", "0ms", "-1ms", "1.5", "x", "nanx", "1e3ms", "1.5x sesame", 2, None, "9" * 400 + "x"],
)
def test_what_is_no_limit_is_refused_and_not_repeated(text: object) -> None:
    """It may be a DSN in the wrong place, with a password."""
    with pytest.raises(UsageError, match=r"1\.5x") as refused:
        PaceLimit.read(text)

    assert "sesame" not in str(refused.value)


def test_a_module_may_use_the_name_for_something_else() -> None:
    """Only a pace is taken for one; a text, which names no database, is refused."""
    made = Pace("1.5x", lambda: 0.0)

    assert pace_of(made, "mod.py") is made
    assert pace_of(len, "mod.py") is None
    assert pace_of(None, "mod.py") is None
    with pytest.raises(UsageError, match=r"postgres\.pace"):
        pace_of("1.5x", "mod.py")
