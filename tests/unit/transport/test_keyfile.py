"""Where a key comes from, and who can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from taskmaster.errors import UsageError
from taskmaster.transport import keyfile


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def loose_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_key_is_long_and_never_the_same():
    """It has 32 random bytes, as text that a shell does not touch."""
    one, other = keyfile.generate(), keyfile.generate()

    assert one != other
    assert len(one) == 43
    assert one.replace("-", "").replace("_", "").isalnum()
    assert not keyfile.weak(one)


def test_short_keys_are_weak():
    """Fewer than 16 characters can be guessed by whoever gets a slave to connect."""
    assert keyfile.weak("foo")
    assert keyfile.weak("x" * 15)
    assert not keyfile.weak("x" * 16)


def test_a_key_is_bytes_whatever_the_shell_gave():
    """Bytes that are no UTF-8 come out as they went in."""
    assert keyfile.as_bytes("ké") == b"k\xc3\xa9"
    assert keyfile.as_bytes(os.fsdecode(b"k\xff")) == b"k\xff"


def test_a_written_key_file_is_the_owners_alone(tmp_path, loose_umask):
    """Whatever the umask is, and reading it gives a key."""
    path = keyfile.write_new(tmp_path / "tm.key")

    assert mode(path) == 0o600
    assert len(keyfile.read(path)) == 43


def test_a_key_file_is_not_overwritten(tmp_path):
    """Slaves may be using it."""
    path = keyfile.write_new(tmp_path / "tm.key")
    key = keyfile.read(path)

    with pytest.raises(UsageError, match="exists, and a key is not overwritten"):
        keyfile.write_new(path)
    assert keyfile.read(path) == key


def test_a_key_file_is_not_written_through_a_link(tmp_path):
    """Somebody else's link does not decide where a key goes."""
    (tmp_path / "tm.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError):
        keyfile.write_new(tmp_path / "tm.key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_file_that_cannot_be_written_is_said(tmp_path):
    """With the path."""
    with pytest.raises(UsageError, match=r"no/such/tm\.key cannot be written: No such file"):
        keyfile.write_new(tmp_path / "no" / "such" / "tm.key")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o666, 0o601])
def test_a_key_file_that_others_can_reach_is_refused(tmp_path, bits):
    """The message has the command that cures it."""
    path = tmp_path / "tm.key"
    path.write_text("secret\n")
    path.chmod(bits)

    with pytest.raises(UsageError) as caught:
        keyfile.read(path)
    assert f"chmod 600 {path}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "user", "bits", "refused"),
    [
        (0, 10001, 0o440, False),
        (0, 10001, 0o400, False),
        (0, 10001, 0o640, False),
        (0, 10001, 0o460, True),
        (0, 10001, 0o450, True),
        (0, 10001, 0o444, True),
        (0, 0, 0o440, True),
        (10001, 10001, 0o440, True),
        (10002, 10001, 0o440, True),
        (10001, 10001, 0o400, False),
    ],
)
def test_root_may_give_a_key_to_a_group(tmp_path, monkeypatch, owner, user, bits, refused):
    """As Kubernetes and systemd do; nobody else may, and root itself has no need of it."""
    path = tmp_path / "tm.key"
    path.write_text("secret\n")
    about = os.stat_result([stat.S_IFREG | bits, 0, 0, 1, owner, 10001, 7, 0, 0, 0])
    monkeypatch.setattr(os, "fstat", lambda _: about)
    monkeypatch.setattr(os, "geteuid", lambda: user)

    if refused:
        with pytest.raises(UsageError, match="chmod 600"):
            keyfile._read(path)
    else:
        assert keyfile._read(path) == "secret"


def test_a_key_file_may_be_a_link_to_a_link(tmp_path):
    """As the kubelet lays a Secret, so that all its files change at once."""
    (tmp_path / "..2026_11_29").mkdir()
    key = keyfile.write_new(tmp_path / "..2026_11_29" / "tm.key")
    (tmp_path / "..data").symlink_to("..2026_11_29")
    (tmp_path / "tm.key").symlink_to("..data/tm.key")

    assert keyfile.read(tmp_path / "tm.key") == keyfile.read(key)


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_an_empty_key_file_is_refused(tmp_path, text):
    """It would let everybody in."""
    path = tmp_path / "tm.key"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(UsageError, match=r"empty"):
        keyfile.read(path)


def test_a_key_file_that_is_missing_or_no_file_is_said(tmp_path):
    """The message has the command that makes one."""
    with pytest.raises(UsageError, match=r"No such file.*tm-ctl keygen"):
        keyfile.read(tmp_path / "tm.key")
    with pytest.raises(UsageError, match="cannot be read"):
        keyfile.read(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        keyfile.read("nul\0")


def test_white_space_around_a_key_is_no_part_of_it(tmp_path):
    """A file ends with a newline, and so may a variable that was filled from it: all give the same
    key.
    """
    path = tmp_path / "tm.key"
    path.write_text(" secret \n")
    path.chmod(0o600)

    assert keyfile.read(path) == "secret"
    assert keyfile.resolve(None, None, {"TASKMASTER_KEY": "secret\n"}).text == "secret"
    assert keyfile.resolve("secret ", None, {}).text == "secret"


@pytest.mark.parametrize(
    ("key", "file_from", "variable", "wins"),
    [
        ("option", None, "variable", "option"),
        ("option", "environment", "variable", "option"),
        ("option", "file", "variable", "option"),
        (None, "command line", "variable", "file"),
        (None, "", "variable", "file"),  # a script's keyword
        (None, "file", "variable", "variable"),
        (None, "file", None, "file"),
        (None, "file", " ", "file"),
        (None, "environment", "", "file"),
        (None, None, "variable", "variable"),
        (None, None, None, None),
    ],
)
def test_a_key_that_is_given_has_an_order(tmp_path, key, file_from, variable, wins):
    """That of all options: what the command line says, the environment, a file of options."""
    path = keyfile.write_new(tmp_path / "tm.key")
    environ = {} if variable is None else {"TASKMASTER_KEY": variable}
    named = None if file_from is None else str(path)
    found = keyfile.resolve(key, named, environ, file_from or "default")

    assert found.file == (str(path) if wins == "file" else None)
    assert found.text == (keyfile.read(path) if wins == "file" else wins)


@pytest.mark.parametrize(
    ("key", "file_from", "variable", "names"),
    [
        ("option", "command line", None, "--key .* --key-file"),
        ("option", "", "variable", "--key .* --key-file"),
        (None, "environment", "variable", "TASKMASTER_KEY .* TASKMASTER_KEY_FILE"),
    ],
)
def test_two_keys_of_which_neither_goes_before_the_other_are_refused(tmp_path, key, file_from, variable, names):
    """Unless they are the same: one would win, and nobody know which."""
    path = keyfile.write_new(tmp_path / "tm.key")
    environ = {} if variable is None else {"TASKMASTER_KEY": variable}
    with pytest.raises(UsageError, match=f"{names} names: leave one of them out"):
        keyfile.resolve(key, str(path), dict(environ), file_from)

    same = keyfile.read(path)
    environ = {} if variable is None else {"TASKMASTER_KEY": f"{same}\n"}
    assert keyfile.resolve(key and same, str(path), environ, file_from).text == same


def test_the_variable_leaves_the_environment(tmp_path):
    """No callback sees it, also when another key was given."""
    for key, key_file in [(None, None), ("option", None), (None, str(keyfile.write_new(tmp_path / "tm.key")))]:
        environ = {"TASKMASTER_KEY": "variable", "OTHER": "stays"}

        keyfile.resolve(key, key_file, environ)

        assert environ == {"OTHER": "stays"}


@pytest.mark.parametrize(("key", "environ"), [("", {}), (" ", {}), (None, {"TASKMASTER_KEY": ""})])
def test_an_empty_key_is_not_taken_for_none(key, environ):
    """A variable that did not expand must not open the master to everybody."""
    with pytest.raises(UsageError, match=r"key is empty"):
        keyfile.resolve(key, None, environ)


def test_a_left_key_is_found_by_its_port(tmp_path, loose_umask):
    """In a directory and a file that are the owner's alone."""
    path = keyfile.leave(5050, "secret")

    assert keyfile.find(5050) == "secret"
    assert keyfile.find(5051) is None
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_any_key_can_be_left():
    """Also one that is no UTF-8 or looks odd."""
    for key in ["ké", os.fsdecode(b"k\xff"), "x" * 1000]:
        keyfile.leave(5050, key)
        assert keyfile.find(5050) == key


def test_a_later_master_replaces_the_key_and_keeps_it():
    """A master that ends takes back its own key only."""
    keyfile.leave(5050, "first")
    keyfile.leave(5050, "second")

    keyfile.remove(5050, "first")
    assert keyfile.find(5050) == "second"

    keyfile.remove(5050, "second")
    assert keyfile.find(5050) is None
    keyfile.remove(5050, "second")


def test_a_left_key_that_others_can_read_is_not_used():
    """Who could read it could have written it."""
    keyfile.leave(5050, "secret").chmod(0o644)

    assert keyfile.find(5050) is None


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777])
def test_no_key_is_left_where_others_can_write(monkeypatch, tmp_path, bits):
    """The message has both cures."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(bits)
    monkeypatch.setenv("TASKMASTER_HOME", str(directory))

    with pytest.raises(UsageError, match=r"chmod 700 .*TASKMASTER_HOME"):
        keyfile.leave(5050, "secret")
    assert list(directory.iterdir()) == []


def test_no_key_is_left_in_somebody_elses_directory(monkeypatch):
    """Its owner could read it."""
    keyfile.leave(5050, "secret")
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)

    with pytest.raises(UsageError, match="not yours alone"):
        keyfile.leave(5050, "other")
    assert keyfile.find(5050) is None


def test_a_directory_that_cannot_be_made_is_said(monkeypatch, tmp_path):
    """With the variable that names another one."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path / "file"))

    with pytest.raises(UsageError, match=r"cannot be left in .*file: .*Set TASKMASTER_HOME"):
        keyfile.leave(5050, "secret")
    assert keyfile.find(5050) is None
    keyfile.remove(5050, "secret")


def test_a_home_that_is_not_set_is_looked_up(monkeypatch, tmp_path):
    """The user's entry in the password database says where it is; no entry, no home, and that is
    said.
    """
    monkeypatch.delenv("TASKMASTER_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(keyfile.pwd, "getpwuid", lambda _: type("Entry", (), {"pw_dir": str(tmp_path)}))

    assert keyfile.leave(5050, "secret").parent == Path(tmp_path, ".taskmaster")
    assert keyfile.find(5050) == "secret"

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(keyfile.pwd, "getpwuid", nobody)
    with pytest.raises(UsageError, match=r"Set TASKMASTER_HOME"):
        keyfile.leave(5050, "secret")
    assert keyfile.find(5050) is None
    keyfile.remove(5050, "secret")


def test_a_pipe_is_a_key_file_if_somebody_writes_into_it(tmp_path, monkeypatch):
    """As ``--key-file <(command)`` does; one that nobody writes into is not waited for without end,
    and none is what a master has left.
    """
    pipe = tmp_path / "k"
    os.mkfifo(pipe, 0o600)
    monkeypatch.setattr(keyfile, "WAIT_FOR_PIPE_SECONDS", 0.0)
    with pytest.raises(UsageError, match="is a pipe that nobody has written a key into"):
        keyfile.read(pipe)
    both = os.open(pipe, os.O_RDWR)
    try:
        os.write(both, b"a key of many letters\n")
        assert keyfile.read(pipe) == "a key of many letters"
        monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path))
        pipe.rename(keyfile._path(tmp_path, 5050))
        os.write(both, b"a key of many letters\n")
        assert keyfile.find(5050) is None
    finally:
        os.close(both)
