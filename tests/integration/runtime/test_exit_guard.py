"""Other programs in the place of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from taskmaster.runtime.exit_guard import exit_guarded


class Ended(BaseException):
    """Stands in for the end of the process."""


EXECS: dict[str, Callable[[], Any]] = {
    "execv": lambda: os.execv("/bin/true", ["true"]),
    "execve": lambda: os.execve("/bin/true", ["true"], {}),
    "execl": lambda: os.execl("/bin/true", "true"),
    "execlp": lambda: os.execlp("true", "true"),
    "execvpe": lambda: os.execvpe("true", ["true"], {"PATH": "/bin"}),
}


@pytest.mark.parametrize("name", EXECS)
def test_no_other_program_takes_the_place_of_a_run(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its exit code would be that program's, which is 0 as a rule; a child may become one."""
    became: list[str] = []

    def become(path: str, *_: object) -> None:
        became.append(path)
        raise Ended

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr(os, "execve", become)
    with exit_guarded():
        with pytest.raises(PermissionError, match="subprocess"):
            EXECS[name]()
        assert became == []

        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(Ended):
            EXECS[name]()
        monkeypatch.undo()

    assert len(became) == 1


def test_a_module_that_is_imported_may_start_its_command_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with another PYTHONHASHSEED; but no ``os._exit(0)`` there is "all done"."""
    became: list[str] = []
    monkeypatch.setattr(os, "execv", lambda path, _: became.append(path))
    with exit_guarded(execs=False):
        os.execv("/bin/true", ["true"])

    assert became == ["/bin/true"]
