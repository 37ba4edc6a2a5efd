"""Fixtures of the process tests: a playground whose commands and processes are accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import wait_for
from support.playground import Playground
from support.ports import claim, release


@pytest.fixture
def default_port() -> Iterator[None]:
    """Port 5050, for one test at a time."""
    wait_for("port 5050", lambda: claim(5050))
    yield
    release(5050)


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A playground; the test fails if its commands, all ended by themselves, leave a process
    behind.
    """
    ground = Playground(tmp_path)
    try:
        yield ground
        if all(command.process.poll() is not None for command in ground._commands):
            try:
                wait_for("every process to end", lambda: not ground.left())
            except AssertionError:
                raise AssertionError(f"left running: {ground.left()}") from None
    finally:
        ground.close()
