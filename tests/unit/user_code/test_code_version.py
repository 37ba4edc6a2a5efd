"""The digest of the callback's file, without importing it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import pytest

from taskmaster.user_code.code_version import callback_in_memory, callback_of, code_of, code_of_file, definition_of

BOMB = "raise SystemExit('nothing of the user may be imported')\n"


@pytest.fixture
def here(module_file, monkeypatch, tmp_path):
    """Files in the working directory."""
    monkeypatch.chdir(tmp_path)
    return module_file


@pytest.mark.parametrize("target", ["jobs.py", "jobs.py:handle", "jobs", "jobs:handle", "./jobs.py"])
def test_all_ways_to_write_a_target_have_one_digest(here, target):
    """It is the file that counts, and nothing of it is run."""
    path = here(BOMB)

    assert code_of(target) == code_of_file(path) != ""
    assert "jobs" not in sys.modules


@pytest.mark.parametrize("init", ["pkg/__init__.py", None], ids=["package", "namespace"])
def test_a_module_in_a_package_is_found_without_importing_the_package(here, init):
    """Whether or not its folders have an ``__init__.py``."""
    if init:
        here(BOMB, init)
    path = here(BOMB, "pkg/deep/mod.py")

    assert code_of("pkg.deep.mod") == code_of_file(path) != ""
    assert code_of("pkg.deep.nowhere") == ""
    assert "pkg" not in sys.modules


def test_a_package_is_its_init_file(here):
    """Which comes before a module of the same name."""
    here(BOMB, "pkg.py")
    path = here(BOMB + "# package", "pkg/__init__.py")

    assert code_of("pkg:handle") == code_of_file(path)


def test_the_working_directory_comes_before_what_is_installed(here):
    """As when a worker loads the target."""
    path = here(BOMB, "json/__init__.py")

    assert code_of("json") == code_of_file(path)


def test_an_installed_module_is_found():
    """Without the working directory."""
    assert code_of("taskmaster.example") != ""


@pytest.mark.parametrize("target", ["sys", "nowhere", "nowhere.at.all", "nowhere.py", "", ":", "time", "folder"])
def test_what_has_no_file_has_no_digest(here, target):
    """No error: the worker says what is wrong, when it loads the target."""
    here("", "folder/jobs.txt")

    assert code_of(target) == ""


def test_the_digest_is_of_the_content(here):
    """A copy has the same, a change another one; what cannot be read has none."""
    here("x = 1\n", "a.py")
    here("x = 1\n", "b.py")
    here("x = 2\n", "c.py")

    assert code_of("a.py") == code_of("b.py") != code_of("c.py")
    assert code_of_file(None) == code_of_file("nowhere.py") == code_of_file("a\0b") == ""


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("pkg/queue.py", "queue"),  # the name of a module of Python's own, which a file is not imported by
        ("pkg/back-fill.py", "back-fill"),
        ("pkg/__init__.py", "pkg"),
        ("pkg", "pkg"),
        ("pkg.queue:handle_job", "queue:handle_job"),
        ("pkg/queue.py:handle_job", "queue:handle_job"),
        ("pkg/none.py", ""),
        ("1", ""),
        ("", ""),
    ],
)
def test_a_callback_is_called_alike_however_its_target_is_written(tmp_path, monkeypatch, target, found):
    """From any directory, as a file or as a module."""
    (tmp_path / "pkg").mkdir()
    for name in ("queue", "back-fill", "__init__"):
        (tmp_path / "pkg" / f"{name}.py").touch()
    monkeypatch.chdir(tmp_path)

    assert callback_of(target) == found

    if target.startswith("pkg/q"):
        monkeypatch.chdir(tmp_path / "pkg")
        assert callback_of(target.removeprefix("pkg/")) == found


def test_a_function_of_a_script_is_called_after_the_script(tmp_path, monkeypatch):
    """One of a module after that; what has no file has no name that a slave could have."""
    script = tmp_path / "back-fill.py"
    script.touch()

    def handle(job):
        return job

    handle.__module__ = "__main__"
    monkeypatch.setattr("sys.argv", [str(script)])
    assert callback_in_memory(handle) == "back-fill"

    monkeypatch.setattr("sys.argv", ["-c"])
    assert callback_in_memory(handle) == ""

    handle.__module__ = "pkg.jobs"
    assert callback_in_memory(handle) == "jobs"
    assert callback_in_memory(object()) == ""


def around(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper() -> None:
        function()

    return wrapper


def test_a_function_and_what_was_put_around_it_are_told_apart() -> None:
    """By all layers: each may be put there by another process."""
    one = definition_of(around)

    assert one == f"around:{around.__code__.co_firstlineno}"
    assert definition_of(around(around)) == definition_of(around(around)) != one
    assert definition_of(around(around)).endswith(f" around {one}")
    assert definition_of(functools.lru_cache(around)) == f"_lru_cache_wrapper around {one}"
    assert definition_of(print) == "builtin_function_or_method"
