"""The page as the run sees it, with a child that is none: it dies, is stopped, or cannot start."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.commands import wait_for

from taskmaster.options.page import PageOptions
from taskmaster.runner import page
from taskmaster.runner.page import ServedPage
from taskmaster.runner.page_plan import plan_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """All children that were started, at any rate."""
    found: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(page, "START_SPAN_SECONDS", 0.0)
    return found


def served(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> ServedPage:
    """Return a page whose child runs a shell script."""
    program = folder / "child"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    plan = plan_of(PageOptions(web="auto"))
    assert plan is not None
    return ServedPage(plan, lambda *_: None, state="")


def test_a_child_that_dies_leaves_no_pipe(
    begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However often: the master would run out of descriptors."""
    with served(monkeypatch, tmp_path, "exit 3"):
        wait_for("a child", lambda: len(begun) > 5)
        left = [child for child in begun[:-2] if child.stdin is not None and not child.stdin.closed]
    assert left == []
    assert all(child.stdin is not None and child.stdin.closed for child in begun)


def test_a_forked_child_lets_go_of_the_page(
    begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the page would outlive its run for as long as a child of the user's source does."""
    with served(monkeypatch, tmp_path, "exec sleep 20") as shown:
        wait_for("a child", lambda: bool(begun) and shown._process is not None)
        shown.forget()
        assert begun[0].stdin is not None
        assert begun[0].stdin.closed
        begun[0].kill()


def test_a_full_disk_for_temporary_files_passes(
    begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page is there when there is room again."""
    whole, asked = tempfile.TemporaryFile, []

    def full_at_first() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole()

    monkeypatch.setattr(page.tempfile, "TemporaryFile", full_at_first)
    with served(monkeypatch, tmp_path, "exit 3"):
        wait_for("a child", lambda: bool(begun))


def test_a_child_that_was_stopped_does_not_hold_the_end(
    begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the last word is more than a pipe takes: the child is killed."""
    monkeypatch.setattr(page, "CHILD_END_SECONDS", 0.3)
    with served(monkeypatch, tmp_path, "kill -STOP $$") as shown:
        wait_for("a child", lambda: bool(begun) and shown._process is not None)
        shown.close({"much": "x" * 300_000})

    assert begun[0].returncode == -9
