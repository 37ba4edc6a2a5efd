"""Targets: taken apart, named, imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmaster.errors import TargetError
from taskmaster.user_code import target as targets


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with two modules, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    (tmp_path / "jobs1.py").write_text("def get_jobs(): pass\ndef handle_job(job): pass\nclass Row: pass\nlimit = 5\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "jobs2.py").write_text("import beside\ndef get_jobs(): pass\n")
    (tmp_path / "folder" / "beside.py").write_text("")
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_one_name_for_one_source(directory: Path) -> None:
    """However it is written."""
    forms = ["jobs1", "jobs1:get_jobs", "jobs1.py", "./jobs1.py", "jobs1.py:get_jobs", str(directory / "jobs1.py")]

    assert {targets.name(targets.parse(form), "get_jobs") for form in forms} == {"jobs1"}
    assert targets.name(targets.parse("jobs1:other"), "get_jobs") == "jobs1.other"
    assert targets.name(targets.parse("folder/jobs2.py"), "get_jobs") == "folder.jobs2"


def test_a_file_and_a_module_are_loaded_as_one(directory: Path) -> None:
    """Or jobs of its classes would be strangers in the slave."""
    by_name = targets.load(targets.parse("jobs1"))
    by_path = targets.load(targets.parse(str(directory / "jobs1.py")))

    assert by_name is by_path
    assert by_path.Row.__module__ == "jobs1"


def test_a_file_may_import_what_lies_beside_it() -> None:
    """As a script may."""
    assert targets.load(targets.parse("folder/jobs2.py")).__name__ == "folder.jobs2"


def test_a_file_called_like_a_module_of_python_does_not_take_its_place(directory: Path) -> None:
    """It gets a name of its own."""
    (directory / "queue.py").write_text("def get_jobs(): pass\n")
    import queue

    module = targets.load(targets.parse("queue.py"))

    assert module.__name__ == "target_queue"
    assert sys.modules["queue"] is queue


@pytest.mark.parametrize(
    "text", ["", ":f", "jobs1:", "jobs1:not valid", "nowhere.py", "folder/", "a..b", "jobs1.py:x:y", "n" * 300 + ".py"]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    """With the forms that there are, or what is there instead."""
    with pytest.raises(TargetError):
        targets.load(targets.parse(text))


def test_a_near_miss_is_named(directory: Path) -> None:
    """For files, modules and functions."""
    with pytest.raises(TargetError, match=r"Did you mean .*jobs1\.py"):
        targets.parse("jobs.py")
    with pytest.raises(TargetError, match="Did you mean jobs1"):
        targets.load(targets.parse("jobs"))
    parsed = targets.parse("jobs1:get_job")
    with pytest.raises(TargetError, match=r"(?s)defines: Row, get_jobs, handle_job.*Did you mean get_jobs"):
        targets.find(targets.load(parsed), parsed, ["get_jobs"])
    parsed = targets.parse("jobs1:limit")
    with pytest.raises(TargetError, match=r"limit .* has the type int, and is not a function"):
        targets.find(targets.load(parsed), parsed, ["get_jobs"])


@pytest.mark.parametrize("text", ["1 / 0", "raise SystemExit(3)", "import no_such_thing", "def f(:"])
def test_a_module_that_raises_shows_the_users_lines(directory: Path, text: str) -> None:
    """And none of Taskmaster's or of the import machinery's."""
    (directory / "bad.py").write_text(f"\n{text}\n")
    for form in ("bad", "bad.py"):
        with pytest.raises(TargetError) as caught:
            targets.load(targets.parse(form))

        assert "bad.py" in str(caught.value.user_traceback)
        assert "taskmaster/target.py" not in str(caught.value.user_traceback)
        assert "importlib" not in str(caught.value.user_traceback)
        assert "bad" not in sys.modules


def test_loading_is_known_to_be_going_on(directory: Path) -> None:
    """So that a script without a guard can be told."""
    (directory / "asks.py").write_text("from taskmaster.user_code import target\nwas = target.loading()\n")

    assert targets.load(targets.parse("asks")).was
    assert not targets.loading()


def test_the_function_can_be_left_out_again() -> None:
    """A slave is given the same target as its master, without the source's name."""
    assert targets.without_function("jobs1:get_jobs") == "jobs1"
    assert targets.without_function("folder/jobs2.py:get_jobs") == "folder/jobs2.py"
    assert targets.without_function("jobs1") == "jobs1"


@pytest.mark.parametrize("value", ["[1, 2, 3]", "range(9)", "(n for n in range(9))", "{1: 2}"])
def test_jobs_that_are_no_function_are_told_how_to_become_one(directory: Path, value: str) -> None:
    """A list is natural: it works in a script."""
    (directory / "listed.py").write_text(f"get_jobs = {value}\n")
    parsed = targets.parse("listed.py")
    module = targets.load(parsed)

    with pytest.raises(TargetError, match=r"`def get_jobs\(\): return \.\.\.`"):
        targets.find(module, parsed, ["get_jobs"])


@pytest.mark.parametrize("name", ["job_key", "count_jobs", "setup", "teardown", "handle_job"])
@pytest.mark.parametrize("value", ["'id'", "1000", "[print]"])
def test_what_a_module_defines_and_cannot_be_called_is_refused(directory: Path, name: str, value: str) -> None:
    """A key, a set-up or a count that was passed over would be missed much later."""
    (directory / "valued.py").write_text(f"{name} = {value}\n")
    module = targets.load(targets.parse("valued.py"))

    with pytest.raises(
        TargetError, match=rf"{name} in .*valued\.py has the type \w+, and is not a function: .*def {name}"
    ):
        targets.optional(module, name)


def test_a_module_may_say_that_it_has_none(directory: Path) -> None:
    """None is no function that was meant to be one; nor is another module of that name."""
    (directory / "without.py").write_text("setup = None\nimport json as teardown\n")
    module = targets.load(targets.parse("without.py"))

    assert targets.optional(module, "setup") is targets.optional(module, "teardown") is None
