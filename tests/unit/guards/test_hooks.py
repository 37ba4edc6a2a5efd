"""What throttle of a module or script may be."""

from __future__ import annotations

from types import ModuleType

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import Guard, hooks_of


def test_throttle_is_a_function_a_guard_or_a_list_of_them() -> None:
    """Nothing, and a module that happens to be called so, are no hooks."""
    guard = Guard(lambda: 0.0, 5, "lag")

    def hook() -> str:
        return ""

    assert hooks_of(None, "throttle") == ()
    assert hooks_of(ModuleType("throttle"), "throttle") == ()
    assert hooks_of(guard, "throttle") == (guard,)
    assert hooks_of([hook, guard], "throttle") == (hook, guard)


async def coroutine() -> str:
    """No hook."""
    return ""


def with_argument(master: object) -> str:
    """No hook."""
    return ""


@pytest.mark.parametrize("given", [5, "lag", [5], {}, coroutine, with_argument, Guard, [lambda: "", [lambda: ""]]])
def test_what_cannot_be_asked_is_refused(given: object) -> None:
    """At the start, with what it may be."""
    with pytest.raises(UsageError, match=r"^throttle in mod names .+: give a function without arguments"):
        hooks_of(given, "throttle in mod")
