"""The event loop of a run in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskmaster.runner import loop as module
from taskmaster.runner.loop import Loop


async def running() -> Any:
    """Return the loop."""
    return asyncio.get_running_loop()


@pytest.mark.parametrize("command", [False, True])
def test_a_loop_of_the_scripts_outlives_the_run(command: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next run failed in it, and so did what the script itself awaits. A command only ends."""
    monkeypatch.setattr(module, "is_command", lambda: command)
    scripts = asyncio.new_event_loop()
    said: list[Any] = []
    scripts.set_exception_handler(handler := lambda _, context: said.append(context))
    for _ in range(1 if command else 2):
        loop = Loop()
        assert loop.awaited(scripts.create_task(running())) is scripts
        assert loop.awaited(running()) is scripts
        assert loop.close(0.0) == []

    assert scripts.is_closed() == command
    if not command:
        assert scripts.get_exception_handler() is handler
        assert scripts.run_until_complete(running()) is scripts
    scripts.close()


def test_a_loop_of_its_own_is_closed() -> None:
    """Nobody else knows it."""
    loop = Loop()
    own = loop.awaited(running())
    assert loop.close(0.0) == []

    assert own.is_closed()
