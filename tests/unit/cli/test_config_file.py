"""Options from taskmaster.toml and pyproject.toml: which count, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from taskmaster.cli.config_file import ONCE, settings_for
from taskmaster.errors import UsageError
from taskmaster.runtime import ownership


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a directory of its own."""
    monkeypatch.chdir(tmp_path)


def said(text: str, command: str = "tm-run", target: str | None = "backfill.py") -> dict[str, Any]:
    """What a file says for a command."""
    Path("taskmaster.toml").write_text(text)
    return dict(settings_for(command, target).values)


def test_nothing_is_said_where_there_is_no_file() -> None:
    """Which is what most have."""
    assert settings_for("tm-run", "backfill.py").path == ""


def test_what_is_nearer_to_the_command_line_counts_more() -> None:
    """For all, then for the command, then for the module, then for the whole target."""
    text = """
    retries = 1
    backoff = 1.5
    size = 1
    rate = "30/m"
    [run]
    retries = 2
    size = 2
    [master]
    retries = 7
    [targets."backfill.py"]
    size = 3
    rate = 4
    [targets."backfill.py:get_old"]
    rate = 5
    [targets."other.py"]
    size = 9
    """

    assert said(text) == {"retries": "2", "backoff": "1.5", "size": "3", "rate": "4"}
    assert said(text, target="backfill.py:get_old")["rate"] == "5"
    assert said(text, "tm-master", None) == {"retries": "7", "backoff": "1.5", "size": "1", "rate": "30/m"}
    # However the path to it is spelled.
    assert said(text, target="./backfill.py") == said(text, target=str(Path("backfill.py").absolute())) == said(text)
    assert said(text, target="./backfill.py:get_old")["rate"] == "5"


def test_names_are_those_of_the_options() -> None:
    """With a hyphen or an underscore; a flag is true or false; what may be repeated is a list."""
    text = 'max-failures = "1%"\njob_timeout = 30\nstrict-code = true\nnotify = ["a", "b"]\nguard = "cpu_load=80%"\n'

    assert said(text) == {
        "max_failures": "1%", "job_timeout": "30", "strict_code": True, "notify": ["a", "b"], "guard": ["cpu_load=80%"],
    }  # fmt: skip
    assert said('address = "0.0.0.0:5050"') == {"host": "0.0.0.0:5050"}


def test_pyproject_has_a_table_and_is_left_alone_without_one() -> None:
    """The file of its own goes first."""
    Path("pyproject.toml").write_text("[tool.ruff]\nline-length = 9\n")
    assert settings_for("tm-run", None).path == ""

    Path("pyproject.toml").write_text("[tool.taskmaster]\nretries = 1\n[tool.taskmaster.run]\nsize = 5\n")
    assert dict(settings_for("tm-run", None).values) == {"retries": "1", "size": "5"}

    assert said("retries = 2") == {"retries": "2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrys = 1", "retrys, and there is no such thing; did you mean retries"),
        ("[run]\nretrys = 1", r"retrys in \[run\], and there is no such thing; did you mean retries"),
        ("[slave]\nretries = 1", r"retries in \[slave\], and there is no such thing"),
        ('[targets."x.py"]\nretrys = 1', "did you mean retries"),
        ("[runs]\nsize = 1", r"a table \[runs\], and there is no such thing; did you mean run"),
        ("key = 'geheim'", "Write key-file"),
        ("[run]\nkey = 'geheim'", "Write key-file"),
        ("reset = 'no'", "one command line"),
        ("strict-code = 1", "write true or false"),
        ("size = true", "write a number"),
        ("size = [1]", "write a number"),
        ("notify = 5", "a list of texts"),
        ("run = 5", "run"),
        ("targets = 5", "targets"),
        ("[targets]\nx = 5", "write a table"),
        ("size = ", "is no TOML"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_the_cure(text: str, message: str) -> None:
    """It would be overlooked else; a secret is not repeated."""
    with pytest.raises(UsageError, match=message) as refused:
        said(text)

    assert "taskmaster.toml" in str(refused.value)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("option", ONCE)
def test_what_is_for_one_command_line_is_refused(option: str) -> None:
    """Each restart would give the run up, or only rehearse."""
    with pytest.raises(UsageError, match="one command line"):
        said(f"{option} = true")


def test_a_file_that_is_named_has_to_be_there() -> None:
    """The usual one need not."""
    with pytest.raises(UsageError, match=r"--config is night\.toml"):
        settings_for("tm-run", None, "night.toml")


# -- who has written it ----------------------------------------------------------------------------


STRANGER = 54321
PLANTED = {"taskmaster.toml": 'notify = "touch proof"', "pyproject.toml": '[tool.taskmaster]\nnotify = "touch proof"'}


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file another user's; who is not root becomes another user itself."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("how", ["another owner", "a group", "everybody", "a link"])
def test_what_somebody_else_has_put_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, how: str) -> None:
    """In a directory like /tmp, a file could name a command that is run; named, it is believed."""
    Path().absolute().chmod(0o1777)
    path = Path(name)
    path.write_text(PLANTED[name])
    if how == "a link":
        path = path.rename("elsewhere")
        Path(name).symlink_to(path)
    if how in ("another owner", "a link"):
        give_away(path, monkeypatch)
    else:
        monkeypatch.setattr(ownership, "_is_own_group", lambda _: False)
        path.chmod(0o664 if how == "a group" else 0o646)
    with pytest.raises(UsageError, match=rf"{name} of the working directory .*--config={name}; --no-config"):
        settings_for("tm-run", "backfill.py")

    assert settings_for("tm-run", "backfill.py", name).values["notify"] == ["touch proof"]


def test_the_owner_of_the_directory_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's root at work in a checkout that a person has mounted: who has put the modules
    there may say how they are run.
    """
    path = Path("taskmaster.toml")
    path.write_text("retries = 2")
    Path().absolute().chmod(0o755)
    if os.geteuid() == 0:
        os.chown(Path().absolute(), STRANGER, STRANGER)
    give_away(path, monkeypatch)

    assert settings_for("tm-run", "backfill.py").values == {"retries": "2"}


def test_a_project_s_file_that_says_nothing_of_taskmaster_may_be_anybody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is used."""
    Path().absolute().chmod(0o1777)
    path = Path("pyproject.toml")
    path.write_text("[tool.ruff]\n")
    give_away(path, monkeypatch)

    assert settings_for("tm-run", "backfill.py").values == {}


@pytest.mark.parametrize("kind", ["a pipe", "a directory"])
def test_what_is_no_file_is_refused_at_once(kind: str) -> None:
    """A command never waits for who writes into a pipe that lies there."""
    path = Path("taskmaster.toml")
    if kind == "a pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(UsageError, match=r"taskmaster\.toml cannot be read.*--no-config"):
        settings_for("tm-run", "backfill.py")


@pytest.mark.parametrize("named", [False, True])
def test_a_file_without_end_is_refused(named: bool) -> None:
    """It is not read until the memory is full."""
    with Path("taskmaster.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match=r"taskmaster\.toml has more than 1,048,576 bytes"):
        settings_for("tm-run", "backfill.py", "taskmaster.toml" if named else None)
