"""How failed jobs are printed: nothing of them tells a terminal or a spreadsheet anything."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pytest

from taskmaster.cli.echo import echo_json
from taskmaster.cli.failures import Style, show
from taskmaster.master.records.job_records import Attempt, FailedJob

HOSTILE = "n\x1b]0;PWN\x07\nFAKE LINE\r\u202e\x9b2J\ud800"


def failed(**texts: str) -> FailedJob:
    job = texts.pop("job", HOSTILE)
    values = {"slave": HOSTILE, "type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE, **texts}
    return FailedJob(1, json.dumps("k"), job, None, (Attempt(5.0, **values),) * 2)


@pytest.mark.parametrize("style", ["text", "json", "csv"])
@pytest.mark.parametrize("tracebacks", [False, True])
def test_what_is_printed_of_hostile_jobs_is_clean(
    style: str, tracebacks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of slaves, classes, messages, tracebacks and the jobs themselves."""
    assert show([failed()], style=style, tracebacks=tracebacks) == 1

    out = capsys.readouterr().out
    assert not set(out.replace("\r\n", "")) & set("\x1b\x07\r\u202e\x9b\ud800")
    # A line of a traceback is one, and is indented; in a cell it is quoted.
    assert style == "csv" or "\nFAKE" not in out


FORMULAS = [
    "=HYPERLINK('http://x')",
    "+cmd|'/c calc'!A1",
    "-2+3+cmd",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "=1",
    "\uff1d1+1",
    "\uff201",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_runs_nothing_that_an_exception_has_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In whatever column it stands."""
    texts = dict.fromkeys(("slave", "type", "message", "traceback", "job"), text)
    show([failed(**texts)], style=Style.CSV, tracebacks=False)

    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert not [cell for cell in rows[1] if cell[:1] in tuple("=+-@\t\r\uff1d\uff20")]


@pytest.mark.parametrize("job", ["-5", "+1.5", "-1e-07", "17"])
def test_numbers_stay_numbers_in_a_spreadsheet(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A negative key is no formula."""
    show([failed(job=job)], style=Style.CSV, tracebacks=False)

    assert next(csv.DictReader(io.StringIO(capsys.readouterr().out)))["job"] == job


def test_json_has_no_number_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """NaN and infinity would be no JSON."""
    echo_json({"rate": float("nan"), "attempts": [{"at": float("inf")}, {"at": 1.5}]})

    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "rate": None,
        "attempts": [{"at": None}, {"at": 1.5}],
    }


def test_a_spreadsheet_has_times_that_people_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the seconds, which programs calculate with."""
    show([failed()], style=Style.CSV, tracebacks=False)

    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(row["last"]) == 5.0
    assert datetime.fromisoformat(row["last_time"]).timestamp() == 5.0
