"""What a command is given when there is no room for files."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from typing import Self

import pytest

from taskmaster.runner import notifiers
from taskmaster.runner.notifiers import LONGEST_OUTPUT, MOST_PRINTED_BYTES, CommandNotifier, _Printed


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
        monkeypatch.setattr(notifiers.tempfile, "TemporaryFile", FullFile)
    with ExitStack() as stack:
        given, printed = CommandNotifier("cat")._files(stack, json.dumps({"event": "state-unwritable"}).encode())
        number = given if isinstance(given, int) else given.fileno()

        assert json.loads(os.read(number, 4096)) == {"event": "state-unwritable"}
        assert (printed is None) is full


def test_what_a_command_prints_without_end_is_cut() -> None:
    """The beginning stays, and the file takes no more room, however much is printed."""
    with tempfile.TemporaryFile(buffering=0) as file:
        printed = _Printed(file)
        file.write(b"first")
        printed.bound()
        assert printed.beginning() == b"first"
        for _ in range(5):
            file.write(b"x" * 2 * MOST_PRINTED_BYTES)
            printed.bound()
            assert os.fstat(file.fileno()).st_blocks * 512 <= MOST_PRINTED_BYTES

        assert printed.beginning().startswith(b"firstxxx")
        assert len(printed.beginning()) == 4 * LONGEST_OUTPUT
    assert _Printed(None).beginning() == b""
