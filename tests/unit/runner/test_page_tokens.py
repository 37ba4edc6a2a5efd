"""The tokens of a page: kept for its owner alone, and the same after a restart."""

from __future__ import annotations

import stat

import pytest

from taskmaster.errors import UsageError
from taskmaster.runner.page_tokens import KeptPage, keep_page, kept_page, new_tokens
from taskmaster.transport import keyfile


@pytest.fixture
def state(tmp_path, monkeypatch) -> str:
    """A state whose page's tokens are kept in a home of its own."""
    monkeypatch.setenv("TASKMASTER_HOME", str(tmp_path / "home"))
    path = tmp_path / "a.tmstate"
    path.write_bytes(b"")
    return str(path)


def test_tokens_cannot_be_guessed():
    """Each has 192 bits, and the two differ."""
    tokens = new_tokens()

    assert tokens.look != tokens.steer
    assert min(len(tokens.look), len(tokens.steer)) >= 32
    assert new_tokens() != tokens


def test_they_are_the_same_after_a_restart(state):
    """What was kept is found again, by the state."""
    page = KeptPage(new_tokens(), "http://127.0.0.1:8050/", state)
    keep_page(page)

    assert kept_page(state) == page
    assert kept_page(state + ".other") is None


def test_a_run_is_started_again_where_nothing_can_be_written(state, monkeypatch):
    """As on a disk that is full: what is kept already is not written anew."""
    page = KeptPage(new_tokens(), "http://127.0.0.1:8050/", state)
    keep_page(page)

    def full(*_, **__):
        raise UsageError("No space left on device.")

    monkeypatch.setattr(keyfile, "keep_private", full)
    keep_page(page)
    with pytest.raises(UsageError):
        keep_page(page._replace(url="http://127.0.0.1:8051/"))


def test_nobody_else_can_read_them(state, tmp_path):
    """The file is its owner's from the first moment; one that others can read is not believed."""
    keep_page(KeptPage(new_tokens(), "http://127.0.0.1:8050/", state))
    (path,) = (tmp_path / "home").iterdir()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert kept_page(state) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"look": 1}', b"\xff"])
def test_a_damaged_file_is_none(state, tmp_path, damage):
    """New tokens are made then."""
    keep_page(KeptPage(new_tokens(), "http://127.0.0.1:8050/", state))
    (path,) = (tmp_path / "home").iterdir()
    path.write_bytes(damage)

    assert kept_page(state) is None


def test_what_belongs_to_a_state_that_is_gone_is_removed(state, tmp_path):
    """Files do not pile up."""
    keep_page(KeptPage(new_tokens(), "u", str(tmp_path / "gone.tmstate")))
    keep_page(KeptPage(new_tokens(), "u", state))

    assert len(list((tmp_path / "home").iterdir())) == 1


def test_a_directory_of_others_is_refused(state, tmp_path):
    """No token is left where others could put a file in its place."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)

    with pytest.raises(UsageError, match="chmod 700"):
        keep_page(KeptPage(new_tokens(), "u", state))
