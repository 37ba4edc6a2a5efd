"""How the end of what ran on an executor is heard of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from taskmaster.engine.batch_call import HostEnd
from taskmaster.engine.host_ends import HostEnds

END = HostEnd("h", "vm:1", ["teardown() raised OSError"])


@pytest.fixture
def ends() -> Iterator[HostEnds]:
    """Those of one slave."""
    ends = HostEnds()
    yield ends
    ends.close()
    assert not ends.path.exists()


def test_a_line_that_is_not_whole_yet_is_read_later(ends: HostEnds) -> None:
    """Another process writes it."""
    line = json.dumps(END) + "\n"
    ends.begun("h", "vm:1")
    ends.path.write_text(line[:10])
    assert ends.read() == []
    assert ends.unheard == {"h": "vm:1"}
    ends.path.write_text(line)

    assert ends.read() == ["teardown() raised OSError (on vm:1)"]
    assert ends.read() == []
    ends.begun("h", "vm:1")  # its last batch was heard of late
    assert ends.unheard == {}


def test_a_file_that_was_cleared_away_has_nothing_to_say(ends: HostEnds) -> None:
    """After weeks, a system removes what lies among its temporary files."""
    ends.path.unlink()
    ends.begun("h", "vm:1")

    assert ends.read() == []
    assert ends.hear([END]) == ["teardown() raised OSError (on vm:1)"]


def test_an_executor_that_is_gone_is_not_asked_again(ends: HostEnds) -> None:
    """Neither one that takes no call, nor one whose calls fail."""
    ends.begun("h", "vm:1")

    class Broken:
        def submit(self, *_: Any) -> Any:
            raise BrokenProcessPool("gone")

    class Failing:
        calls = 0

        def submit(self, *_: Any) -> Any:
            self.calls += 1
            future: Future[Any] = Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    assert ends.ask(Broken(), "slave", 1, 60.0, lambda: False) == []
    failing = Failing()
    assert ends.ask(failing, "slave", 1, 60.0, lambda: False) == []
    assert failing.calls == 3
    assert ends.unheard == {"h": "vm:1"}


def test_who_is_in_a_hurry_waits_for_no_answer(ends: HostEnds) -> None:
    """A second Ctrl-C ends it."""
    ends.begun("h", "vm:1")
    silent = Future[Any]()

    class Silent:
        def submit(self, *_: Any) -> Any:
            return silent

    looks = iter([False, False, True])
    assert ends.ask(Silent(), "slave", 1, 60.0, lambda: next(looks, True)) == []
    assert silent.cancelled()
