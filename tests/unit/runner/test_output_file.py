"""Files that a run leaves: refused before it begins, and never half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskmaster.errors import UsageError
from taskmaster.runner.output_file import check_output, write_whole


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("nowhere/r.html", "there is no directory"),
        (".", "which is a directory"),
        ("pipe", "no file"),
        ("n" * 300, "too long.*Name another file"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    """With the option, the value and what would do instead; a pipe or a device is not replaced."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UsageError, match=rf"--report.*{why}"):
        check_output("--report", str(tmp_path / name) if name else "", "report.html")
    check_output("--report", str(tmp_path / "r.html"), "report.html")


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves it, and nothing beside it; one that goes well replaces it."""
    place = tmp_path / "r.html"
    place.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(os, "fchmod", full)
        write_whole(place, b"after", 0o640)
    assert place.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]

    former = os.umask(0o077)
    try:
        write_whole(place, b"after", 0o640)
    finally:
        os.umask(former)
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("after", 0o640)


@pytest.mark.parametrize("kind", ["a link", "a pipe", "another file's second name"])
def test_no_file_that_somebody_has_put_there_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Even if its name was guessed: it is made, never opened, and a pipe is not waited for."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    monkeypatch.setattr("taskmaster.runner.output_file.secrets.token_hex", lambda _: "guessed")
    planted = tmp_path / ".r.html.guessed"
    if kind == "a link":
        planted.symlink_to(precious)
    elif kind == "a pipe":
        os.mkfifo(planted)
    else:
        planted.hardlink_to(precious)

    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "r.html", b"after", 0o640)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("linked", [False, True])
def test_another_user_s_file_in_a_directory_like_tmp_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    """It cannot be replaced at the end of the run: that is said before its beginning. Nor can a
    link, also one that leads nowhere.
    """
    place = tmp_path / "r.html"
    if linked:
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    check_output("--report", str(place), "report.html")
    tmp_path.chmod(0o1777)

    with pytest.raises(UsageError, match=r"--report is .*r\.html', which belongs to .*name another"):
        check_output("--report", str(place), "report.html")
