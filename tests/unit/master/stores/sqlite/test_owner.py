"""Whose files a state consists of: what another user has made, or may write to, is never used."""

from __future__ import annotations

import logging
import os
import pickle
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from taskmaster.errors import StateRefused
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_identity import RunIdentity
from taskmaster.master.records.run_record import Checkpoint
from taskmaster.master.stores.sqlite import file, owner
from taskmaster.master.stores.sqlite.glance import runs_in
from taskmaster.master.stores.sqlite.lock import Lock
from taskmaster.master.stores.sqlite.store import SqliteStore
from taskmaster.runtime import ownership

STRANGER = 54321
Open = Callable[[Path], SqliteStore]

EITHER_WAY = pytest.mark.parametrize(
    "opened",
    [lambda path: SqliteStore.open(path, RunIdentity.named("mod"), "mod.py"), SqliteStore.open_existing],
    ids=["as a master", "as tm-ctl"],
)
PARTS = pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".lock"])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Make a state with a parked job in it."""
    path = tmp_path / "x.tmstate"
    store = SqliteStore.open(path, RunIdentity.named("mod"), "mod.py")
    store.load()
    store.write(Checkpoint("10", settled=9, park=[ParkedJob(1, "5", pickle.dumps(5), b"\0" * 16)]))
    store.close()
    return path


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Give a file to somebody else; if this is not root, we become somebody else instead."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: STRANGER)

    return give


def part_of(state: Path, end: str) -> Path:
    part = state.with_name(state.name + end)
    if end:
        part.touch(0o600)
    return part


def files_in(directory: Path) -> dict[str, bytes]:
    """Read them; there are none where the name is too long for a directory."""
    there = os.path.isdir(directory)  # Path.is_dir() raises then
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()} if there else {}


def refusal(opened: Open, state: Path) -> str:
    """Open a state that is refused, and left as it was; give the reason."""
    before = files_in(state.parent)
    with pytest.raises(StateRefused) as caught:
        opened(state)
    assert files_in(state.parent) == before
    assert caught.value.exit_code == 5
    return str(caught.value)


@EITHER_WAY
@PARTS
def test_a_file_of_another_user_is_refused(opened: Open, end: str, state: Path, stranger: Callable[[Path], None]):
    """The state itself, and whatever SQLite or a lock would take into account beside it."""
    part = part_of(state, end)
    stranger(part)

    why = refusal(opened, state)

    assert "belongs to" in why
    assert "chown" in why
    assert "--state=PATH" in why


@EITHER_WAY
@PARTS
@pytest.mark.parametrize("bit", [stat.S_IWGRP, stat.S_IWOTH], ids=["group", "others"])
def test_a_file_that_others_may_write_to_is_refused(opened: Open, end: str, bit: int, state: Path):
    """Whoever it belongs to; the cure is said."""
    part = part_of(state, end)
    part.chmod(0o600 | bit)

    assert f"chmod go-w {part}" in refusal(opened, state)


@EITHER_WAY
@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_another_file_s_second_name_beside_the_state_is_refused(opened: Open, end: str, state: Path):
    """SQLite would write over what is in it, though no link is followed; the cure is said."""
    precious = state.with_name("precious")
    precious.write_text("data")
    precious.chmod(0o600)
    part = part_of(state, end)
    part.unlink()
    part.hardlink_to(precious)

    assert f"cp -p {part} {part}.new" in refusal(opened, state)


@EITHER_WAY
@pytest.mark.parametrize("kind", ["a pipe", "a directory"])
def test_what_is_no_file_is_never_opened(opened: Open, kind: str, tmp_path: Path):
    """Also by who only looks: SQLite would wait for who writes into a pipe."""
    path = tmp_path / "odd.tmstate"
    os.mkfifo(path) if kind == "a pipe" else path.mkdir()

    assert "is not a regular file" in refusal(opened, path)
    with pytest.raises(StateRefused, match="is not a regular file"):
        runs_in(path)


@EITHER_WAY
@pytest.mark.parametrize("end", ["-wal", "-journal", ".lock"])
def test_a_link_in_the_place_of_a_file_beside_the_state_is_refused(opened: Open, end: str, state: Path):
    """What it leads to is not written to, though it is the user's own."""
    precious = state.with_name("precious")
    precious.write_text("data")
    part_of(state, end).unlink()
    state.with_name(state.name + end).symlink_to(precious)

    assert "is a link" in refusal(opened, state)


def test_a_lock_that_is_a_link_to_nothing_makes_no_file(tmp_path: Path):
    """Not even where there is no state yet."""
    (tmp_path / "x.tmstate.lock").symlink_to(tmp_path / "made")

    with pytest.raises(StateRefused, match="is a link"):
        SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py")
    assert not (tmp_path / "made").exists()


@EITHER_WAY
def test_a_lock_that_is_another_files_second_name_is_refused(opened: Open, state: Path):
    """A hard link to a file of the user's: writing the lock would overwrite that."""
    precious = state.with_name("precious")
    precious.write_text("process 1 on my list")
    precious.chmod(0o600)
    state.with_name(state.name + ".lock").hardlink_to(precious)

    assert "second name" in refusal(opened, state)


def test_a_file_that_is_no_lock_is_not_overwritten(tmp_path: Path):
    """``--state=poetry`` must not cost anybody a poetry.lock."""
    (tmp_path / "poetry.lock").write_text("# generated\n")

    with pytest.raises(StateRefused, match="not the lock of a state"):
        SqliteStore.open(tmp_path / "poetry", RunIdentity.named("mod"), "mod.py")
    assert (tmp_path / "poetry.lock").read_text() == "# generated\n"


def test_a_lock_that_a_killed_master_has_left_is_taken(state: Path):
    """Its content is a lock's."""
    state.with_name(state.name + ".lock").write_text("process 4711 on some-host, serving 127.0.0.1:5050\n")
    state.with_name(state.name + ".lock").chmod(0o600)

    store = SqliteStore.open_existing(state)
    assert store.load().settled == 9
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of another user's")
def test_a_link_to_a_state_is_followed_only_if_the_user_made_it(state: Path):
    """A stranger's link could lead a run to any of the user's states."""
    link = state.with_name("link.tmstate")
    link.symlink_to(state.name)
    store = SqliteStore.open(link, RunIdentity.named("mod"), "mod.py")
    assert store.location == str(state)
    store.close()
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)

    with pytest.raises(StateRefused, match="is a link that"):
        SqliteStore.open(link, RunIdentity.named("mod"), "mod.py")


def test_a_link_to_a_link_is_followed_to_the_state(state: Path):
    """The lock lies beside the state itself."""
    (state.parent / "one").mkdir()
    (state.parent / "one" / "a").symlink_to("../b")
    (state.parent / "b").symlink_to(state)

    assert owner.followed(state.parent / "one" / "a") == state


@EITHER_WAY
@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + "/x.tmstate", "n" * 248, "\u20ac" * 84])
def test_a_name_that_no_state_can_have_is_named(opened: Open, name: str, tmp_path: Path):
    """Or one that leaves no room for the names of the files beside it; SQLite does not say so."""
    with pytest.raises(StateRefused, match=r"a name can have 255 bytes.*--state=PATH"):
        opened(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_that_a_state_can_have_is_taken(tmp_path: Path):
    """Whatever lies beside it for a moment."""
    SqliteStore.open(tmp_path / ("n" * 247), RunIdentity.named("mod"), "mod.py").close()
    SqliteStore.open_existing(tmp_path / ("n" * 247)).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_state_that_root_has_made_is_explained(state: Path):
    """An earlier session with sudo is the usual reason."""
    for path in state.parents:
        if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
            path.chmod(0o755)  # pytest's own folders are closed to others
    state.chmod(0o644)
    os.chown(state.parent, STRANGER, STRANGER)
    os.seteuid(STRANGER)
    try:
        with pytest.raises(StateRefused, match=r"belongs to root.*started as root.*sudo chown"):
            SqliteStore.open(state, RunIdentity.named("mod"), "mod.py")
    finally:
        os.seteuid(0)


def test_a_file_system_that_keeps_no_owners_or_permissions_is_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not only at the first resume, when the run would be lost."""
    really = os.fstat

    def mapped(descriptor: int) -> os.stat_result:
        about = really(descriptor)
        return os.stat_result((about.st_mode | 0o077, *about[1:]))

    monkeypatch.setattr(os, "fstat", mapped)
    with pytest.raises(StateRefused, match="keeps no permissions"):
        SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py")
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*really(fd)[:4], 65534, *really(fd)[5:])))
    with pytest.raises(StateRefused, match="maps users"):
        SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py")
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_exchanged_while_it_is_opened_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch):
    """What was looked at is what was opened: else the look would be in vain."""
    other = state.with_name("other.tmstate")
    other.write_bytes(state.read_bytes())
    other.chmod(0o600)
    monkeypatch.setattr(
        "taskmaster.master.stores.sqlite.store.check_opened",
        lambda path: (other.replace(path), owner.check_opened(path)),
    )

    with pytest.raises(StateRefused, match="was replaced by another file while it was opened"):
        SqliteStore.open(state, RunIdentity.named("mod"), "mod.py")


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o700, False), (0o755, False), (0o1777, False), (0o777, True), (0o2770, True)]
)
def test_a_directory_in_which_others_can_replace_the_state_is_warned_of(
    tmp_path: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Writable for others, and not sticky; the cure is said."""
    monkeypatch.setattr(ownership, "_is_own_group", lambda _: False)
    tmp_path.chmod(mode)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py").close()

    assert ("chmod go-w" in caplog.text) is warned


@pytest.mark.parametrize(
    ("uid", "gid", "named", "alone"),
    [(54321, 54321, False, True), (54321, 54322, False, False), (54321, 54321, True, False)],
)
def test_the_group_of_a_container_is_its_user_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, gid: int, named: bool, alone: bool
):
    """Kubernetes gives the files of a volume to a group, each time that it is mounted: a state is
    taken where user and group have one number and no name, and the directory is not warned of.
    """
    state = tmp_path / "run.tmstate"
    kinds = [(tmp_path, stat.S_IFDIR | 0o2770), (state, stat.S_IFREG | 0o660)]
    of_directory, of_state = (os.stat_result([mode, 0, 0, 1, uid, gid, 0, 0, 0, 0]) for _, mode in kinds)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if named:
        monkeypatch.setattr(ownership.grp, "getgrgid", lambda _: None)

    assert ownership.others_write(of_directory) is not alone
    if alone:
        owner._check(state, state, of_state)
    else:
        with pytest.raises(StateRefused, match="can be written to by other users"):
            owner._check(state, state, of_state)


def test_a_shared_directory_leaves_no_gap_for_a_log_or_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Between the look at the files and SQLite's, their names are taken; nothing of it is left."""
    tmp_path.chmod(0o1777)
    seen = []
    connected = file.sqlite3.connect

    def connect(*args, **options):
        seen.append(sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")))
        return connected(*args, **options)

    monkeypatch.setattr("taskmaster.master.stores.sqlite.connection.sqlite3.connect", connect)
    SqliteStore.open(tmp_path / "x.tmstate", RunIdentity.named("mod"), "mod.py").close()

    assert seen[-1] == ["x.tmstate", "x.tmstate-journal", "x.tmstate-wal", "x.tmstate.lock"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tmstate"]


def test_scratch_files_have_names_that_nobody_can_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are new files, never links, and what goes wrong with their removal hides no reason."""
    made = []
    really = os.open

    def opened(path, flags, mode=0o777, **more):
        if ".x.tmstate." in str(path):
            made.append((Path(path).name, flags))
        return really(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", opened)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        SqliteStore.open(tmp_path / name / "x.tmstate", RunIdentity.named("mod"), "mod.py").close()

    assert len({name for name, _ in made}) == 2
    assert all(flags & os.O_EXCL and flags & os.O_NOFOLLOW for _, flags in made)
    assert not any(str(os.getpid()) == name.rpartition(".")[2] for name, _ in made)


def test_the_reason_why_a_state_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also where the scratch file cannot be removed either."""
    monkeypatch.setattr(file, "_write_new", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "not permitted")))

    with pytest.raises(StateRefused, match="No space left on device"):
        file.create(tmp_path / "x.tmstate", lambda _: None)


def test_a_lock_is_looked_at_before_it_is_written_to(tmp_path: Path):
    """A lock that others may write to would tell everybody a wrong address."""
    path = tmp_path / "x.tmstate.lock"
    path.write_text("process 1 on here, serving 127.0.0.1:1\n")
    path.chmod(0o666)

    with pytest.raises(StateRefused, match="chmod go-w"):
        Lock(tmp_path / "x.tmstate")
    assert path.read_text() == "process 1 on here, serving 127.0.0.1:1\n"
