"""Which of two modules of one name an import gets: the library's or the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskmaster.user_code import own_imports, target

NAMES = ("antigravity", "difflib", "tomllib", "zipapp", "this")
ASKS = """
import importlib
def ask(name):
    return importlib.import_module(name)
def plain():
    import zipapp
    return zipapp
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is imported here is forgotten again."""
    former = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(own_imports, "_FINDER", own_imports.LibraryFirst())
    yield
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(former)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of the user's with a file for some names of the library's modules."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("theirs = True\n")
    return tmp_path


def module_called(name: str, file: str = "<string>") -> Any:
    """A module with functions that import."""
    module = ModuleType(name)
    exec(compile(ASKS, file, "exec"), vars(module))
    return module


@pytest.mark.parametrize("asking", ["taskmaster.runner.report_file", "taskmaster", "concurrent.futures", "logging"])
def test_what_is_taskmaster_s_own_gets_the_library_s(theirs: Path, asking: str) -> None:
    """However it imports, and whatever lies beside the target."""
    own_imports.put_first([str(theirs)], "backfill")

    assert not hasattr(module_called(asking).ask("difflib"), "theirs")
    assert not hasattr(module_called(asking).plain(), "theirs")


def test_an_installed_library_gets_the_library_s(theirs: Path) -> None:
    """It was imported by Taskmaster, or by the user: it means the same module."""
    own_imports.put_first([str(theirs)], "backfill")
    client = module_called("prometheus_client", "/usr/lib/python3/dist-packages/prometheus_client/exposition.py")

    assert not hasattr(client.ask("difflib"), "theirs")


@pytest.mark.parametrize("asking", ["backfill", "target_random", "__main__", "django.conf", "taskmaster_jobs"])
def test_what_is_the_user_s_gets_what_python_gives(theirs: Path, asking: str) -> None:
    """A file of their own comes first, as anywhere."""
    own_imports.put_first([str(theirs)], "backfill")

    assert module_called(asking).ask("difflib").theirs
    assert module_called(asking).plain().theirs


def test_a_target_may_have_the_name_of_a_module_of_the_library_s(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was named."""
    monkeypatch.chdir(theirs)

    assert target.load(target.parse("difflib")).theirs


def test_a_directory_that_was_there_before_stays_where_it_is(theirs: Path) -> None:
    """As with PYTHONPATH; nor is one put there twice."""
    sys.path.append(str(theirs))
    own_imports.put_first([str(theirs)], "backfill")
    own_imports.put_first([str(theirs / "more")], "backfill")
    own_imports.put_first([str(theirs / "more")], "backfill")

    assert sys.path.count(str(theirs)) == sys.path.count(str(theirs / "more")) == 1
    assert sys.path[0] == str(theirs / "more")
    assert sys.meta_path.count(own_imports._FINDER) == 1
