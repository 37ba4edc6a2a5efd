"""Whose a file is, and who may write to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from taskmaster.runtime import ownership


def test_this_user_and_root_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert [ownership.is_trusted(number) for number in (0, 1000, 1001, 65534)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("mode", "wide"), [(0o600, False), (0o644, False), (0o602, True), (0o1777, True), (0o620, True), (0o2770, True)]
)
def test_a_file_is_open_to_others_by_its_mode(monkeypatch: pytest.MonkeyPatch, mode: int, wide: bool) -> None:
    """By a group that is not this user's alone, or by everybody."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    about = os.stat_result([stat.S_IFREG | mode, 0, 0, 1, 54321, 54320, 0, 0, 0, 0])

    assert ownership.others_write(about) is wide


def test_a_user_without_a_name_has_a_number(tmp_path: Path) -> None:
    """As in a container."""
    assert ownership.user(54321) == "user 54321"
    assert ownership.user(0) == "root"


@pytest.mark.parametrize("umask", [0o777, 0o277, 0o022])
def test_a_new_file_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Who has made it could not open it again."""
    former = os.umask(umask)
    try:
        made = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    finally:
        os.umask(former)

    assert ownership.for_its_owner(made) == made
    os.close(made)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
