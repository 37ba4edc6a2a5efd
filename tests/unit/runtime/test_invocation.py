"""How a process was started."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.runtime.invocation import is_piped, text_of_stdin, words_given

CASES: dict[str, tuple[list[str], list[str], str, list[str]]] = {
    "as they were": (["python", "s.py", "a", "b"], ["s.py", "a", "b"], "", ["a", "b"]),
    "one was taken out": (["python", "-u", "s.py", "a", "b"], ["s.py", "b"], "", ["a", "b"]),
    "all were": (["python", "s.py", "a"], ["s.py"], "", ["a"]),
    "a module": (["python", "-m", "shop", "a"], ["/x/shop/__main__.py"], "/x/shop/__main__.py", ["a"]),
    "a command": (["python", "-c", "pass", "a"], ["-c"], "", ["a"]),
    "standard input": (["python", "-", "a"], ["-"], "", ["a"]),
    "other words": (["python", "s.py", "a"], ["s.py", "b"], "", ["b"]),
    "another script": (["python", "driver.py", "a"], ["s.py", "b"], "", ["b"]),
    "a debugger": (["python", "-m", "debugpy", "--listen", "1", "s.py", "a"], ["s.py", "a"], "/x/debugpy.py", ["a"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_words_are_those_of_the_script(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Also those that it has taken out, unless it says something else."""
    given, now, main, words = CASES[case]
    monkeypatch.setattr(sys, "orig_argv", given)
    monkeypatch.setattr(sys, "argv", now)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(origin=main)))  # type: ignore[arg-type]

    assert words_given() == words


def at_stdin(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    """Let a descriptor stand for the standard input."""
    fstat, pread = os.fstat, os.pread
    monkeypatch.setattr(os, "fstat", lambda fd: fstat(fd or descriptor))
    monkeypatch.setattr(os, "pread", lambda fd, *rest: pread(fd or descriptor, *rest))
    monkeypatch.setattr(sys, "argv", ["-"])
    monkeypatch.delattr(sys, "ps1", raising=False)


def test_a_script_in_a_pipe_is_nothing_that_one_could_know_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At the standard input, and as a file of the system's."""
    ours, theirs = os.pipe()
    at_stdin(monkeypatch, ours)
    assert is_piped()
    assert text_of_stdin() == ""
    os.close(ours)
    os.close(theirs)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "none.py")])
    assert not is_piped()
    os.mkfifo(tmp_path / "63")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "63")])
    assert is_piped()
    (tmp_path / "s.py").write_text("")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "s.py")])
    assert not is_piped()


def test_a_script_that_is_the_standard_input_is_known_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it has been read up to."""

    def digest(text: bytes) -> Any:
        with tempfile.TemporaryFile() as file, monkeypatch.context() as patched:
            file.write(text)
            file.flush()
            at_stdin(patched, file.fileno())
            assert not is_piped()
            return text_of_stdin()

    assert digest(b"a = 1") == digest(b"a = 1") != digest(b"a = 2")
