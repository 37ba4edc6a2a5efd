"""The report as a page: what it says of each end, that it runs nothing, and that it stays small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from taskmaster.view.report import MOST_REPORT_BYTES, exit_words, mark_of, report

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[2J\ud800'
VOID = {"meta"}


class Read(HTMLParser):
    """The tags and attributes of a page; fails if one is not closed, or in another's place."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def facts(**more: Any) -> dict[str, Any]:
    """A run with all that can be said of one; each text that comes from users is hostile."""
    h = HOSTILE
    found = {
        "conclusion": {
            "word": "finished, 2 failed jobs", "tone": "held", "exit_code": 3, "sentence": h, "finished": True,
        },
        "made_at": 1e9,
        "zone": "UTC",
        "status": {
            "target": f"/srv/{h}.py", "run": "r1", "settled": 1234567, "total": 2000000, "failed": 2, "skipped": 1,
            "settled_here": 10, "retries": 4, "watermark": h, "host": h, "pid": 7, "release": "1.0", "python": "3.11",
            "rates": {"session": 10.0, "working": 20.0}, "attempts_failed": {"exception": 6, "crash": 0},
            "clock": {
                "session_seconds": 100.0, "run_seconds": 90_000.0, "started_at": 9e8,
                "held_seconds": {"paused": 50.0, "rate": 0.1},
            },
            "job_seconds": {
                "p50": 0.002, "p95": 0.009, "longest": 4.0, "count": 7, "basis": "batches",
                "buckets": [[0.001, 0], [0.004, 5], [0.016, 5]],
            },
        },
        "points": [[1e9 + at, float(at), at % 2, "paused" if at == 5 else "", 7.0] for at in range(100)],
        "trail": [
            {"seq": 1, "at": 1e9, "command": "started", "user": "", "host": "", "via": "master", "reason": h,
             "before": "", "after": ""},
            {"seq": 2, "at": 1e9 + 9, "command": "rate", "user": h, "host": "bastion", "via": "web", "reason": h,
             "before": "500/s", "after": ""},
        ],
        "trail_left_out": 3,
        "slaves": [
            {"name": h, "workers": 4, "state": "lost", "gone_at": 1e9, "done": 12, "failed": 1, "p50": 0.1, "p95": 0.2,
             "since_at": 9e8, "release": h},
        ],
        "slaves_left_out": 17,
        "kinds": [
            {"type": h, "where": h, "count": 2, "first_at": 1e9, "last_at": 1e9, "key": h, "message": h,
             "traceback": f"Traceback\n  {h}\n"},
        ],
        "kinds_left_out": 1,
        "failed_jobs": [{"key": h, "type": h, "at": 1e9, "message": h}],
        "failed_jobs_left_out": 1,
        "settings": [
            {"name": "rate", "value": h, "default": "no limit", "source": "live", "by": h, "at": 1e9},
            {"name": "size", "value": "10000", "default": "10000", "source": "default", "by": None, "at": None},
        ],
        "resume": f"tm-run '{h}'",
        "failures": f"tm-ctl failures '{h}'",
        "failed_again": f"tm-run '{h}' --failed",
        "state_file": h,
        "traceback": h,
    }  # fmt: skip
    return {**found, **more}


def words(**more: Any) -> str:
    """The text of a report."""
    return re.sub(
        r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", report(facts(**more)).decode(), flags=re.DOTALL)
    )


def test_nothing_in_it_runs_or_asks_for_anything() -> None:
    """No script, no style attribute, no handler, no address of anything, whatever the texts are."""
    page = report(facts())
    read = Read(page)

    assert {"script", "link", "img", "iframe", "a", "form", "object", "base"} & set(read.tags) == set()
    names = {name for name, _ in read.attributes}
    assert not [name for name in names if name in ("style", "href", "src", "xlink:href") or name.startswith("on")]
    assert b"url(" not in page
    assert b"@import" not in page
    assert "\u202e" not in page.decode()
    assert "\x1b" not in page.decode()


def test_it_says_all_that_is_known() -> None:
    """How it ended, the numbers, what failed, slaves, who changed what, settings, and where."""
    text = words()

    for part in (
        "Exit code 3: finished, with failed jobs", "1,234,567 of 2,000,000 jobs (61.7 %)", "1 d 1 h in all",
        "paused 50 s", "10 in this session, 20 while it was not paused", "6 by exception", "lost, ", "500/s",
        "2 ms (95 % under 9 ms, the longest 4 s)", "up to 4 ms", "Jobs of a batch count with their mean",
        "17 slaves more not shown", "1 failed job more", "3 older rows more", "1 setting at the default",
        "--failed", "tm-ctl failures", "Taskmaster 1.0, Python 3.11", "live, by",
    ):  # fmt: skip
        assert part in text
    assert "rate 0.1" not in text
    assert "crash" not in text


@pytest.mark.parametrize(
    ("conclusion", "shown", "resumes"),
    [
        (
            {"word": "finished", "tone": "good", "exit_code": 0, "finished": True},
            "Exit code 0: all jobs are done",
            False,
        ),
        ({"word": "stopped", "tone": "held", "exit_code": 143, "finished": False}, "Exit code 143", True),
        ({"word": "stopped", "tone": "held", "exit_code": 75, "finished": False}, "Exit code 75", True),
        ({"word": "running", "tone": "good", "exit_code": None, "finished": False}, "running", True),
    ],
)
def test_a_run_that_is_not_over_has_the_command_that_goes_on(conclusion: dict, shown: str, resumes: bool) -> None:
    """And no other has; an exit code that is not known is not shown."""
    text = words(conclusion={**conclusion, "sentence": "why"})

    assert shown in text
    assert ("The command that resumes it" in text) is resumes
    assert ("Exit code" in text) is (conclusion["exit_code"] is not None)


def test_what_is_not_known_is_left_out() -> None:
    """A state that nobody is at has no slaves, no times of jobs, no plot of a short run."""
    bare = {
        "conclusion": {"word": "finished", "tone": "good", "exit_code": 0, "sentence": "", "finished": True},
        "made_at": 1e9, "status": {"run": "r", "settled": 1, "failed": 0}, "points": [], "trail": [],
    }  # fmt: skip
    text = report(bare).decode()

    assert "No job has failed for good" in text
    assert "too short for a plot" in text
    assert "Slaves" not in text
    assert "How long jobs took" not in text
    Read(report(bare))


def test_a_mail_program_that_cuts_it_cuts_failed_jobs_alone() -> None:
    """One shows the first 100 KB: a thousand of them take more, and all else comes before."""
    full = facts()
    many = {**full, "failed_jobs": full["failed_jobs"] * 1000, "failed_jobs_left_out": 3}
    page = report(many).decode()

    last = page[page.index("<h2>Failed jobs</h2>") :]
    assert len(page.encode()) - len(last.encode()) < 100_000
    assert last.count("<h2>") == 1
    assert "3 failed jobs more not shown here" in last


def test_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of rows with long texts are cut, the longest list first, and that is said."""
    monkeypatch.setattr("taskmaster.view.report.MOST_REPORT_BYTES", 60_000)
    full = facts()
    long = "\N{SNOWMAN}&" * 4000
    rows = {
        "kinds": [{**full["kinds"][0], "traceback": long}] * 8,
        "failed_jobs": [{**full["failed_jobs"][0], "message": long}] * 40,
        "trail": [{**full["trail"][1], "reason": long, "seq": number} for number in range(40)],
    }

    page = report({**full, **rows})

    assert 20_000 < len(page) <= 60_000
    assert re.search(rb"<p>\d kinds more not shown", page)
    assert re.search(rb"<p>\d\d older rows more not shown", page)
    Read(page)
    assert MOST_REPORT_BYTES == 2_000_000


def test_marks_and_exit_codes_have_words() -> None:
    """For each exit code there is, and for those of signals."""
    mark = mark_of(facts()["trail"][0] | {"command": "note", "user": "anna", "host": "b", "after": "x"})

    assert mark.text.endswith("anna@b: note: x")
    assert len({exit_words(code) for code in (0, 1, 2, 3, 4, 5, 6, 75)}) == 8
    assert exit_words(143) == exit_words(130) == exit_words(75)


def test_a_pace_is_named_where_it_held_the_run() -> None:
    """With what the probe took; without a pace, it is no word of the report."""
    status = facts()["status"]
    status["clock"]["held_seconds"] = {"throttled": 21.0}
    figures = {"probe_seconds": 0.0027, "allowed_seconds": 0.003, "baseline_seconds": 0.002}

    text = words(status={**status, "pace": figures})

    assert "held by the pace, a guard or throttle() 21 s" in text
    assert "probe 2.7 ms of 3 ms allowed, 2 ms without the run" in text
    assert "held by the pace" in words(status={**status, "pace": dict.fromkeys(figures)})
    assert "pace" not in words(status=status, settings=[]).lower().replace(HOSTILE.lower(), "").split()


def test_numbers_that_count_different_things_say_what_they_count() -> None:
    """A job that is tried again is settled once, and is several attempts of slaves."""
    text = words()

    assert "In this session, with repeats" in text
    assert "Each attempt counts, those that failed too." in text
    assert "Attempts done failed" in text
