"""What is said to be missing where a worker runs on an engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskmaster.errors import TargetError
from taskmaster.slave.worker import elsewhere
from taskmaster.slave.worker.elsewhere import cure_elsewhere


def raised(call: Callable[[], object]) -> BaseException:
    """Return what a call raises."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value


def import_missing() -> None:
    """Import what is not there."""
    import no_such_helper  # type: ignore[import-not-found]  # noqa: F401


def caused() -> None:
    """Wrap that, as many do."""
    try:
        import_missing()
    except ImportError as exc:
        raise RuntimeError("no helper") from exc


def of_target() -> None:
    """Raise it as a target that cannot be imported does."""
    try:
        import_missing()
    except ImportError:
        raise TargetError("There is no module no_such_helper.") from None


def beside() -> None:
    """Fail otherwise, where something else was tried in its place."""
    try:
        import_missing()
    except ImportError:
        {}["key"]


@pytest.mark.parametrize("call", [import_missing, caused, of_target, lambda: Path("data.csv").read_text()])
def test_a_missing_module_or_file_may_have_to_be_shipped(call: Callable[[], object]):
    """Also where another exception was raised from it."""
    assert "--ship=PATH" in cure_elsewhere(raised(call))


@pytest.mark.parametrize(
    "call",
    [beside, lambda: {}["key"], lambda: Path("/no/such/file").read_text(), lambda: os.kill(2**22 + 1, 0)],
)
def test_nothing_is_said_of_other_exceptions(call: Callable[[], object]):
    """An absolute path is nothing that could travel."""
    assert cure_elsewhere(raised(call)) == ""


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("src/no_such_helper/__init__.py", "src"),
        ("src/no_such_helper.py", "src"),
        ("a/b/no_such_helper.py", "a/b"),
        ("no_such_helper-1.0-py3-none-any.whl", "no_such_helper-1.0-py3-none-any.whl"),
    ],
)
def test_what_was_shipped_and_is_on_no_path_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, place: str
):
    """As in a project with its packages below ``src``."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    elsewhere._found_deeper.cache_clear()

    assert f"--env=PYTHONPATH={place} lets it find" in cure_elsewhere(raised(import_missing))
    elsewhere._found_deeper.cache_clear()
