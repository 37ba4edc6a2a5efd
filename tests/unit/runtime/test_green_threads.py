"""Processes whose threads and sockets gevent or eventlet has replaced."""

from __future__ import annotations

import _thread
import socket

import pytest

from taskmaster.errors import TargetError
from taskmaster.runtime import green_threads


@pytest.fixture(params=["thread", "socket"])
def patch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Replace a part of the process as a library would."""

    def replace(library: str) -> None:
        module, name = (_thread, "start_new_thread") if request.param == "thread" else (socket, "socket")
        replacement = type("socket", (), {"__module__": f"{library}.inner"})
        monkeypatch.setattr(module, name, replacement)

    return replace


def test_a_process_that_nobody_has_patched_serves() -> None:
    """With workers and without."""
    for workers in (True, False):
        green_threads.check_master("jobs.py", workers=workers)

    assert green_threads.check_slots(8) == ""


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("workers", [True, False])
def test_a_patch_that_came_later_is_refused(patch, library: str, workers: bool) -> None:
    """With what did it, and where to do it instead."""
    patch(library)
    with pytest.raises(TargetError, match=rf"jobs.py replaces.*{library}.*setup\(\)"):
        green_threads.check_master("jobs.py", workers=workers)


@pytest.mark.parametrize(("library", "workers", "refused"), [("gevent", True, False), ("eventlet", True, True)])
def test_a_patch_that_came_before(patch, monkeypatch, library: str, workers: bool, refused: bool) -> None:
    """A script that gevent patched first serves; one of eventlet's cannot have workers."""
    patch(library)
    monkeypatch.setattr(green_threads, "_EARLY", library)
    green_threads.check_master("The script", workers=False)
    if refused:
        with pytest.raises(TargetError):
            green_threads.check_master("The script", workers=workers)
    else:
        green_threads.check_master("The script", workers=workers)


def test_a_patched_worker_runs_one_job_at_a_time(patch) -> None:
    """More would never begin."""
    patch("gevent")

    assert green_threads.check_slots(1) == ""
    assert "one job at a time" in green_threads.check_slots(2)


def test_a_patch_of_somebody_else_is_no_matter(patch) -> None:
    """Debuggers and proxies replace both, and the rest of Python knows of it."""
    patch("socks")

    assert green_threads.patched() == ""
