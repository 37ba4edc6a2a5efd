"""The command that a person copies to start a slave has the master's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmaster.options.commands import MasterOptions
from taskmaster.runner import shared_key
from taskmaster.runner.shared_key import of_master
from taskmaster.runner.slave_command import slave_command
from taskmaster.transport.address import Address
from taskmaster.transport.keyfile import generate, write_new

ADDRESS = Address("10.0.0.1", 5050)


@pytest.mark.parametrize(("source", "named"), [("command line", True), ("file", False), ("environment", True)])
def test_a_file_is_named_only_where_the_key_comes_from_it(
    source: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TASKMASTER_KEY goes before the file of taskmaster.toml, with which a slave is refused."""
    path = write_new(str(tmp_path / "tm.key"))
    key = path.read_text() if source == "environment" else generate()
    monkeypatch.setenv("TASKMASTER_KEY", key)
    monkeypatch.setattr(shared_key, "source_of", {"key_file": source}.get)
    options = MasterOptions(host=str(ADDRESS), key_file=str(path))
    shared = of_master(options)
    command = slave_command(options, "jobs.py", ADDRESS, shared.file)

    assert command == "tm-slave jobs.py --host=10.0.0.1:5050" + (f" --key-file={path}" if named else "")
    assert (shared.text == path.read_text().strip()) is named


def test_the_key_itself_is_not_shown() -> None:
    """It would stay in logs."""
    options = MasterOptions(host=str(ADDRESS), key=generate())

    assert slave_command(options, None, ADDRESS, None).endswith("MODULE:FUNCTION --host=10.0.0.1:5050 --key=KEY")
