"""The report at the end of a session, also of one whose state gives nothing any more."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.errors import StateBusy, StateUnwritable
from taskmaster.runner import report_file
from taskmaster.runner.report_file import ReportFile
from taskmaster.transport.address import Address
from taskmaster.transport.client import Declined


def test_a_run_whose_state_cannot_be_read_has_a_report(tmp_path: Path) -> None:
    """Of a disk that is full, it has to tell, and the failed jobs are all that it leaves out."""

    def look(what: str, _: Any) -> Any:
        return {"rows": [], "last": 0, "slaves": 0, "kinds": 0, "gone_before": 0} if what != "settings" else []

    def busy(**_: Any) -> Any:
        raise StateBusy("it could not be written")

    run: Any = SimpleNamespace(status=lambda _: {"failed": 3, "target": "x.py"}, steers=SimpleNamespace(look=look))
    store: Any = SimpleNamespace(failed=busy, location="x.tmstate")
    path = tmp_path / "report.json"
    ReportFile(str(path), run, store, lambda: None).__exit__(None, StateUnwritable("No space left."), None)

    told = json.loads(path.read_text())
    assert (told["failed_jobs"], told["failed_jobs_left_out"]) == ([], 3)
    assert told["conclusion"]["exit_code"] == 5


def test_a_rehearsal_names_no_state_and_no_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be gone; and a path is that of the directory in which the run began."""

    def look(what: str, _: Any) -> Any:
        return {"rows": [], "last": 0, "slaves": 0, "kinds": 0, "gone_before": 0} if what != "settings" else []

    run: Any = SimpleNamespace(status=lambda _: {"failed": 3, "target": "x.py"}, steers=SimpleNamespace(look=look))
    store: Any = SimpleNamespace(failed=lambda **_: [], location="x.tmstate")
    monkeypatch.chdir(tmp_path)
    file = ReportFile("report.json", run, store, lambda: 3, sampled=True)
    monkeypatch.chdir("/")
    file.__exit__(None, None, None)

    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["resume"], told["failures"], told["failed_again"], told["state_file"]) == ("", "", "", "")
    assert told["conclusion"]["sentence"].startswith("A rehearsal")


@pytest.mark.parametrize("words", ["ValueError: there is nothing called 'kinds' to look at here", "KeyError: 'rows'"])
def test_a_report_leaves_out_what_an_older_master_does_not_know_and_nothing_else(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that could not say it is no older one: a report without it would look whole."""

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            """Nobody is connected to."""

        def status(self) -> dict[str, Any]:
            return {"state": "running"}

        def look(self, what: str, **_: Any) -> Any:
            if what == "kinds":
                raise Declined(Address("h", 1), words)
            return [] if what == "settings" else {"rows": []}

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(report_file, "SteerClient", Client)
    if "nothing called" in words:
        assert report_file.report_of_master("h:1", None, None, None)["kinds"] == []
    else:
        with pytest.raises(Declined, match="KeyError"):
            report_file.report_of_master("h:1", None, None, None)
