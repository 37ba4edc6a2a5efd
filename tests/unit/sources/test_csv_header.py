"""What looks wrong with the header of a CSV file is said, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskmaster.sources import csv_rows

ROWS = "".join(f"{number},n{number}\n" for number in range(3))

ODD = {
    "a number": (ROWS, "looks like data ('0')"),
    "a date": ("2024-05-01,a\n2024-05-02,b\n", "looks like data ('2024-05-01')"),
    "a price": ("name a,3.50\nname b,4.50\n", "looks like data ('3.50')"),
    "two files in one": (f"id,name\n{ROWS}id,name\n{ROWS}", "1 row of {path}, the first at byte 23, is its header"),
    "three files": (f"id,name\n{ROWS}" * 3, "2 rows of {path}, the first at byte 23, are its header"),
    "a marked file behind": (f"id,name\n{ROWS}\ufeffid,name\n{ROWS}", "is its header once more"),
    "semicolons": ("id;name\n1;a\n", 'delimiter=";"'),
    "tabs": ("id\tname\n1\ta\n", 'delimiter="\\t"'),
}


@pytest.mark.parametrize("kind", ODD)
def test_it_is_said_at_once_and_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """Rows would be left out, be run although they are none, or not be what was meant."""
    text, said = ODD[kind]
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    source = csv_rows(path)
    jobs = list(source.iterate())
    (remark,) = source.remarks()

    assert said.format(path=path) in remark
    assert len(caplog.messages) == 1
    assert len(jobs) == len(text.splitlines()) - 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"id,name\n{ROWS}", id="names"),
        pytest.param("name,2023,2024\na,1,2\n", id="years"),
        pytest.param(",name\n0,a\n", id="an index without a name"),
        pytest.param("note\na; b\n", id="one column"),
        pytest.param("", id="empty"),
    ],
)
def test_nothing_is_said_of_what_is_usual(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """A word too many is one that nobody reads."""
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    source = csv_rows(path)
    list(source.iterate())

    assert (source.remarks(), caplog.messages) == ([], [])


def test_nothing_is_said_of_a_file_that_has_no_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All its rows are jobs, and two may be the same."""
    path = tmp_path / "rows.csv"
    path.write_text(ROWS + ROWS, encoding="utf-8")
    source = csv_rows(path, header=False)

    assert len(list(source.iterate())) == 6
    assert (source.remarks(), caplog.messages) == ([], [])
