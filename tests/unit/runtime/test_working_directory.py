"""A working directory that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmaster.errors import UsageError
from taskmaster.runtime import working_directory


def test_a_directory_that_is_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused."""
    monkeypatch.chdir(tmp_path)
    working_directory.check()

    assert working_directory.find() == tmp_path


def test_a_removed_one_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not found, by those who can do without it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match=r"any more.*cd"):
        working_directory.check()

    assert working_directory.find() is None


def test_where_a_command_was_typed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the user's code goes meanwhile; and no longer than the command."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(tmp_path)
    with working_directory.kept():
        monkeypatch.chdir(inner)
        assert working_directory.where_typed() == tmp_path
        with working_directory.kept():
            assert working_directory.where_typed() == inner
    assert working_directory.where_typed() == inner
