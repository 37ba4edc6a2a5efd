"""What a command is given when there is no room for files."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import Self

import pytest

from taskmaster.runner import notify_ways
from taskmaster.runner.notify_ways import CommandWay


class FullFile:
    """A file on a disk that has no room left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def write(self, text: bytes) -> None:
        raise OSError(28, f"No space left for {len(text)} bytes")


@pytest.mark.parametrize("full", [True, False])
def test_a_command_is_given_its_event_on_a_full_disk_too(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """That a disk is full may be what it is to tell."""
    if full:
        monkeypatch.setattr(notify_ways.tempfile, "TemporaryFile", FullFile)
    with ExitStack() as stack:
        given, printed = CommandWay("cat")._files(stack, json.dumps({"event": "state-unwritable"}).encode())
        number = given if isinstance(given, int) else given.fileno()

        assert json.loads(os.read(number, 4096)) == {"event": "state-unwritable"}
        assert (printed is None) is full
