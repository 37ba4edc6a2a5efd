"""The user's files on their way to an engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskmaster.engine import archive
from taskmaster.engine.archive import name_there, pack, unpack
from taskmaster.errors import UsageError


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with a few files."""
    place = tmp_path / "here"
    (place / "lib" / "__pycache__").mkdir(parents=True)
    (place / "jobs.py").write_text("1")
    (place / "lib" / "helper.py").write_text("2")
    (place / "lib" / "tool").write_text("3")
    (place / "lib" / "tool").chmod(0o755)
    (place / "lib" / "__pycache__" / "helper.pyc").write_text("4")
    monkeypatch.chdir(place)
    return place


def test_files_keep_their_way_from_the_working_directory(here, tmp_path):
    """Also their mode; what Python makes of them stays here."""
    there = unpack(pack([Path("jobs.py"), Path("lib")]), tmp_path)

    found = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    assert found == ["jobs.py", "lib/helper.py", "lib/tool"]
    assert (there / "lib/helper.py").read_text() == "2"
    assert os.access(there / "lib/tool", os.X_OK)


def test_secrets_of_the_master_stay_here(here, tmp_path):
    """Keys, and the options with the address of a webhook: an engine is shared with others."""
    (here / "tm.key").write_text("s3cret")
    (here / "lib" / "tls.key").write_text("s3cret")
    (here / "taskmaster.toml").write_text('notify = ["https://hooks.example/s3cret"]')
    (here / "lib" / "other.toml").write_text("6")

    there = unpack(pack([Path()]), tmp_path)

    found = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    assert found == ["jobs.py", "lib/helper.py", "lib/other.toml", "lib/tool"]


def test_a_file_from_elsewhere_has_its_own_name(here, tmp_path):
    """As its module has when it is loaded here."""
    other = tmp_path / "elsewhere.py"
    other.write_text("5")

    assert name_there(other) == "elsewhere.py"
    assert name_there(here / "lib" / "helper.py") == "lib/helper.py"


def test_equal_files_give_an_equal_digest_and_others_another(here, tmp_path):
    """Whenever they were written: the directory there is shared by what is equal, alone."""
    first = pack([Path("jobs.py")])
    os.utime(here / "jobs.py", (1, 1_000_000_000))
    second = pack([here / "jobs.py"])
    (here / "jobs.py").write_text("new")

    assert first == second
    assert pack([here / "jobs.py"]).digest != first.digest
    assert unpack(first, tmp_path) == unpack(second, tmp_path)


def test_what_cannot_travel_is_refused(here, tmp_path, monkeypatch):
    """What is not there, two files of one name, and more than goes with every slave."""
    other = tmp_path / "jobs.py"
    other.write_text("5")
    with pytest.raises(UsageError, match="no such file"):
        pack([Path("nowhere.py")])
    with pytest.raises(UsageError, match=r"would both be jobs\.py"):
        pack([Path("jobs.py"), other])
    monkeypatch.setattr(archive, "MOST_ARCHIVE_BYTES", 2)
    with pytest.raises(UsageError, match="can travel"):
        pack([Path()])


def test_files_that_were_removed_there_are_put_back(here, tmp_path):
    """As a machine cleans its temporary directory, file by file; what is there stays as it is."""
    (here / "lib").mkdir(exist_ok=True)
    for name in ("jobs.py", "lib/a.py", "lib/b.py"):
        (here / name).write_text(name)
    made = pack([here / "jobs.py", here / "lib"])
    base = tmp_path / "base"
    base.mkdir()
    there = unpack(made, base)
    kept = (there / "lib/b.py").stat().st_ino
    (there / "jobs.py").unlink()
    (there / "lib/a.py").unlink()

    assert unpack(made, base) == there
    assert [(there / name).read_text() for name in ("jobs.py", "lib/a.py")] == ["jobs.py", "lib/a.py"]
    assert (there / "lib/b.py").stat().st_ino == kept
    assert list(base.iterdir()) == [there]


def test_a_link_that_leads_back_is_not_followed_without_end(here, tmp_path):
    """Two of them would be as many ways as there are orders of them; one to another folder is
    followed, as often as there is one.
    """
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.py").write_text("b")
    (here / "lib").mkdir(exist_ok=True)
    (here / "lib/a.py").write_text("a")
    for name, to in (("one", "."), ("two", ".."), ("x", other), ("y", other)):
        (here / "lib" / name).symlink_to(to)
    made = pack([here / "lib"])
    (tmp_path / "base").mkdir()

    there = unpack(made, tmp_path / "base")
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*.py")) == [
        "lib/a.py",
        "lib/helper.py",
        "lib/x/b.py",
        "lib/y/b.py",
    ]


def test_a_link_has_its_own_name_there(here, tmp_path):
    """By which it is imported here, wherever it leads; so has what lies below one."""
    other = tmp_path / "common"
    other.mkdir()
    (other / "helper_v2.py").write_text("5")
    (here / "helper.py").symlink_to(other / "helper_v2.py")
    (here / "common").symlink_to(other)
    (tmp_path / "alias").symlink_to(here)

    there = unpack(pack([Path("helper.py"), Path("common")]), tmp_path)

    found = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    assert found == ["common/helper_v2.py", "helper.py"]
    assert name_there(tmp_path / "alias" / "lib" / "helper.py") == "lib/helper.py"


def test_what_sends_nothing_is_refused(here, tmp_path):
    """A directory without files, one of states and keys alone, and what is no file."""
    (here / "empty").mkdir()
    (here / "mine").mkdir()
    (here / "mine" / "jobs.tmstate.lock").write_text("4711")
    (here / "mine" / "tm.key").write_text("s3cret")
    os.mkfifo(here / "fifo")

    for name, why in (("empty", "no file in that directory"), ("mine", "no file"), ("fifo", "neither a file nor")):
        with pytest.raises(UsageError, match=why):
            pack([Path(name)])
