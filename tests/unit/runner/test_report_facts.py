"""What a report says of a run: from its master, whatever its release, and from its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskmaster.errors import BudgetSpent, Interrupted, SourceError, Stopped
from taskmaster.master.records.job_records import Attempt, FailedJob
from taskmaster.master.records.minute_row import MINUTE_BYTES, MinuteRow
from taskmaster.master.records.run_record import RunRecord
from taskmaster.master.records.steering_records import LiveChange, TrailRow
from taskmaster.master.tally.failure_kinds import FailureKinds
from taskmaster.runner.report_facts import MOST_FAILED, conclusion, conclusion_of_state, facts_of_master, facts_of_state
from taskmaster.units import show_moment
from taskmaster.view.report import report


def failed(number: int) -> FailedJob:
    """A failed job."""
    return FailedJob(number, str(number), repr(number), None, (Attempt(9.0, "s", "ValueError", "bad", "tb"),))


def trail(command: str, reason: str = "", after: str = "", seq: int = 1) -> TrailRow:
    """A row of the trail that nobody commanded."""
    return TrailRow(seq, 100.0 + seq, command, "", "", "", "master", reason, "", after)


class Master:
    """Answers in parts, as a master does."""

    def __init__(self, **known: list[Any]) -> None:
        self.known = known

    def look(self, what: str, arguments: dict[str, Any]) -> Any:
        rows = self.known.get(what)
        if rows is None:
            return None
        if what == "settings":
            return rows
        if what == "history":
            kept = [row for row in rows if row[0] % {"10m": 1, "6h": 10, "all": 300}[arguments["span"]] == 0]
            part = kept[arguments["since_seq"] :][:50]
            seq = arguments["since_seq"] + len(part)
            names = ["at", "settled", "failed", "held", "rate_limit"]
            return {"rows": part, "columns": names, "held": ["", "rate"], "seq": seq, "left": len(kept) - seq}
        part = rows[arguments.get("after", 0) :][:20]
        return {"rows": part, what: len(rows), "gone_before": 5}


def test_all_parts_of_what_a_master_says_are_asked_for() -> None:
    """And how many slaves and rows are not told any more."""
    master = Master(
        kinds=[{"n": number} for number in range(45)],
        slaves=[{"n": number} for number in range(30)],
        trail=[{"seq": 8, "at": 1.0}],
        settings=[{"name": "size"}],
        history=[[float(at), at, 0, 1, 5.0] for at in range(900)],
    )

    found = facts_of_master(master.look, {"failed": 2000, "clock": {"started_at": 0.0}}, [failed(1)] * MOST_FAILED)

    assert len(found["kinds"]) == 45
    assert (len(found["slaves"]), found["slaves_left_out"]) == (30, 5)
    assert found["trail_left_out"] == 7
    assert found["failed_jobs_left_out"] == 2000 - MOST_FAILED
    times = [point[0] for point in found["points"]]
    assert times == sorted(times)
    assert times[-1] == 899.0
    assert {point[3] for point in found["points"]} == {"rate"}


def test_a_session_of_a_second_has_a_plot() -> None:
    """From its beginning to now, after the rows of the sessions before."""
    master = Master(history=[[float(at), 50, 2, 0, None] for at in range(10)])
    status = {
        "settled": 90, "settled_here": 40, "failed": 12, "settled_by_outcome": {"failed": 10}, "at": 502.0,
        "clock": {"started_at": 0.0, "session_at": 500.0},
    }  # fmt: skip

    found = facts_of_master(master.look, status, ())["points"]

    assert found[-2][0] == 500.0
    assert found[-1][:3] == [502.0, 20.0, 10]


def test_a_master_of_another_release_tells_what_it_can() -> None:
    """What it does not know is left out."""
    found = facts_of_master(Master().look, {"settled": 5}, ())

    assert (found["kinds"], found["slaves"], found["trail"], found["points"], found["settings"]) == ([], [], [], [], [])


def test_a_state_says_how_its_run_went() -> None:
    """Numbers, the plot of its minutes from its beginning to its end, kinds, what is in force, and
    the command that it was begun with.
    """
    rows = [MinuteRow.of([60.0 * minute, 100.0 * minute, *[0.0] * 10]) for minute in (2, 3, 4)]
    kinds = FailureKinds()
    kinds.add(failed(1))
    record = RunRecord(
        "r", True, mark="7", settled=500, failures=1, seconds=250.0, started=60.0, history=rows,
        trail=[trail("started", "tm-run work.py 2"), trail("stopped", "--limit is reached", "exit code 75", 240)],
        live=[LiveChange("rate", "5", "anna@b", 9.0)],
    )  # fmt: skip

    found = facts_of_state(record, "work.py", kinds, [failed(1)])

    assert found["resume"] == "tm-run work.py 2"
    assert found["failed_again"] == "tm-run work.py 2 --failed"
    assert [point[0] for point in found["points"]] == [120.0, 180.0, 240.0, 340.0]
    assert found["points"][1][1] == pytest.approx(100 / 60, abs=0.01)
    assert found["kinds"][0]["type"] == "ValueError"
    assert found["settings"][0] | {"source": "live"} == found["settings"][0]
    assert found["status"]["watermark"] == "7"
    assert "slaves" not in found


def test_fifty_thousand_failures_of_thirty_kinds_are_few_facts() -> None:
    """Each kind has its number and one traceback, and a thousand jobs are named."""
    kinds = FailureKinds()
    for number in range(50_000):
        job = failed(number)
        kinds.add(
            job if number % 30 == 0 else replace(job, attempts=(job.attempts[0]._replace(type=f"E{number % 30}"),))
        )
    record = RunRecord("r", True, settled=50_000, failures=50_000, finished=9.0)

    found = facts_of_state(record, "work.py", kinds, [failed(number) for number in range(MOST_FAILED)])

    assert sum(kind["count"] for kind in found["kinds"]) == 50_000
    assert len(found["kinds"]) == 30
    assert found["failed_jobs_left_out"] == 49_000
    assert len(report({**found, "conclusion": conclusion_of_state(record)})) < 300_000


@pytest.mark.parametrize(
    ("code", "error", "word", "shown"),
    [
        (0, None, "finished", 0),
        (3, None, "finished, 1 failed job", 3),
        (75, None, "stopped", 75),
        (1, None, "finished, 1 failed job", 1),
        (None, Interrupted("", 15), "stopped", 143),
        (None, BudgetSpent("too much"), "stopped", 4),
        (None, SourceError("get_jobs raised"), "failed", 1),
        (None, RuntimeError("x"), "failed", 1),
        (None, None, "running", None),
    ],
)
def test_each_end_has_a_word_and_its_exit_code(code, error, word: str, shown: int | None) -> None:
    """And only what is over has the one of an end."""
    status = {"state": "running", "failed": 0 if code == 0 else 1, "why": {"sentence": "nothing holds it"}}

    found = conclusion(status, code, error, "The run has ended.")

    assert (found["word"], found["exit_code"]) == (word, shown)
    assert found["finished"] is (code in (0, 3))
    assert found["sentence"]
    assert conclusion({}, None, SourceError("get_jobs raised"), "")["sentence"] == "get_jobs raised"


@pytest.mark.parametrize(
    ("error", "word", "tone"),
    [
        (Interrupted("", 2), "stopped", "held"),
        (Interrupted("", 15, "stopped by root@vm (deploy)"), "stopped", "held"),
        (Stopped("--limit is reached"), "stopped", "held"),
        (BudgetSpent("too much"), "stopped", "bad"),
        (SourceError("get_jobs raised"), "failed", "bad"),
    ],
)
def test_an_end_has_one_name_and_one_colour_whether_its_master_or_its_state_tells_it(error, word, tone) -> None:
    """Red is for failures alone, and the state's trail names who has stopped the run."""
    said = str(error) or error.why
    state = RunRecord("r", True, trail=[trail("stopped", said, f"exit code {error.exit_code}")])

    for found in (conclusion({}, None, error, said), conclusion_of_state(state)):
        assert (found["word"], found["tone"], found["sentence"]) == (word, tone, said)


def test_a_state_says_with_what_its_last_session_ended() -> None:
    """By its trail; one without a word of an end was killed."""
    stopped = RunRecord("r", True, trail=[trail("stopped", "--limit is reached", "exit code 75")])
    killed = RunRecord("r", True, trail=[trail("started")])
    over = RunRecord("r", True, failures=2, finished=9.0)
    noted = replace(stopped, trail=[*stopped.trail, trail("note", "looked", seq=2)])
    bad = replace(over, trail=[trail("finished"), trail("ended-badly", "it could not", "exit code 1", seq=2)])
    short = replace(over, trail=[trail("left-out", "Jobs are missing."), trail("finished", seq=2)])

    assert conclusion_of_state(stopped)["exit_code"] == 75
    assert conclusion_of_state(stopped)["sentence"] == "--limit is reached"
    assert conclusion_of_state(noted) == conclusion_of_state(stopped)
    unknown = replace(over, trail=[trail("finished", "", "ends unknown: 2 workers")])
    assert conclusion_of_state(unknown)["exit_code"] == 1
    assert "before it was known how 2 workers ended" in conclusion_of_state(unknown)["sentence"]
    unknown = replace(stopped, trail=[trail("stopped", "SIGINT", "exit code 130, ends unknown: 1 worker")])
    assert conclusion_of_state(unknown)["exit_code"] == 130
    assert "before it was known how 1 worker ended" in conclusion_of_state(unknown)["sentence"]
    lost = replace(stopped, trail=[*stopped.trail, trail("ended-badly", "it could not", "exit code 1", seq=2)])
    assert conclusion_of_state(lost)["exit_code"] == 75
    assert conclusion_of_state(lost)["sentence"].startswith(
        "--limit is reached. Workers could not end as they should: "
    )
    assert (conclusion_of_state(bad)["tone"], conclusion_of_state(bad)["exit_code"]) == ("bad", 1)
    assert "Workers could not end" in conclusion_of_state(bad)["sentence"]
    assert (conclusion_of_state(short)["exit_code"], conclusion_of_state(short)["sentence"]) == (1, "Jobs are missing.")
    assert conclusion({}, 1, None, "", "Jobs are missing.")["sentence"] == "Jobs are missing."
    assert conclusion_of_state(killed)["word"] == "not finished"
    assert "killed, its machine went down, or its end could not be written" in conclusion_of_state(killed)["sentence"]
    seen = replace(killed, history=[MinuteRow(600, bytes(MINUTE_BYTES))])
    assert f"went down soon after {show_moment(600)}, or" in conclusion_of_state(seen)["sentence"]
    assert (conclusion_of_state(over)["word"], conclusion_of_state(over)["exit_code"]) == ("finished, 2 failed jobs", 3)
