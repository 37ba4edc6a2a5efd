"""The status line, the rate, and when progress is drawn; with a clock that the tests set."""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm.std import tqdm

from taskmaster.view.progress import Cadence, Progress
from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.status import Rate, clean, eta, status_line, to_json

COMMAND = "tm-slave backfill.py --host=10.0.0.1:5050"
START = Snapshot(
    run="3f2a",
    target="backfill.py",
    state=RunState.RUNNING,
    reason="",
    settled=0,
    failed=0,
    settled_here=0,
    elapsed=0.0,
    total=None,
    queued=0,
    leased=0,
    parked=0,
    waiting=0,
    skipped=0,
    slaves=1,
    workers=2,
    batch=0,
    batch_reason="",
    watermark="",
    address="127.0.0.1:5050",
)


class Screen(io.StringIO):
    """A terminal of 80 columns that keeps what was written."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A terminal that has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError("gone")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def at(elapsed: float, settled_here: int = 0, **fields: object) -> Snapshot:
    """A snapshot of a run that was not resumed."""
    return replace(START, elapsed=elapsed, settled_here=settled_here, **{"settled": settled_here, **fields})


def rate_of(*samples: tuple[float, int]) -> Rate:
    rate = Rate()
    for elapsed, settled_here in samples:
        rate.add(elapsed, settled_here)
    return rate


def line(snapshot: Snapshot, slave_command: str = "") -> str:
    return status_line(snapshot, rate_of((snapshot.elapsed, snapshot.settled_here)), slave_command)


# -- rate ------------------------------------------------------------------------------------------


def test_young_session_s_rate_is_its_average():
    """Before ten seconds have passed, the rate is what was settled here by the time that it
    took.
    """
    assert rate_of((1.0, 100), (4.0, 1000)).value == 250.0


def test_rate_is_that_of_the_last_ten_seconds():
    """What was slow or fast before that is forgotten."""
    samples = [(second, 0) for second in range(1, 21)] + [(20 + second, 50 * second) for second in range(1, 21)]

    assert rate_of(*samples).value == pytest.approx(50.0)


def test_rate_of_a_stalled_run_falls_to_zero():
    """Ten seconds without a settled job are a rate of 0, whatever the average of the session is."""
    assert rate_of(*[(float(second), min(second, 10) * 1000) for second in range(1, 31)]).value == 0.0


def test_rate_before_any_time_has_passed_is_zero():
    """Nothing is divided by zero."""
    assert Rate().value == rate_of((0.0, 0)).value == 0.0


def test_resumed_run_s_rate_counts_this_session_only():
    """A run that has settled a million jobs before does not seem to have settled them just now."""
    text = line(at(2.0, 100, settled=1_000_100))

    assert text.startswith("Current Job: 1000100 | Rate:   50.00/s | Elapsed Time: 0:00:02")


@given(st.lists(st.tuples(st.floats(0, 60), st.integers(0, 10**6)), max_size=300))
def test_rate_is_never_negative_and_never_above_the_fastest(steps):
    """Whenever samples are taken, the rate lies between nothing and all that was settled, and few
    samples are kept.
    """
    rate, elapsed, settled = Rate(), 0.0, 0
    for seconds, jobs in steps:
        elapsed, settled = elapsed + seconds, settled + jobs
        rate.add(elapsed, settled)

        assert 0 <= rate.recent.jobs <= settled
        assert rate.value >= 0
        assert len(rate._samples) <= 25


# -- status line -----------------------------------------------------------------------------------


def test_status_line_has_the_form_of_the_blog_post():
    """Number of settled jobs, rate and elapsed time come first, written as they always were."""
    text = status_line(at(40.0, 30421), rate_of((50.0, 49553)))

    assert text == "Current Job: 30421 | Rate:  991.06/s | Elapsed Time: 0:00:40"


def test_status_line_says_what_else_is_known():
    """Failures come first among the rest, then percent, time left, queue and slaves."""
    snapshot = at(40.0, 30400, total=100_000, queued=9800, failed=3, slaves=2)

    assert line(snapshot, COMMAND) == (
        "Current Job: 30400 | Rate:  760.00/s | Elapsed Time: 0:00:40 | 3 failed | 30.4% of 100000 | "
        "ETA 0:01:31 | 9800 in queue | 2 slaves"
    )


BUSY = {"total": 100_000, "queued": 9800, "failed": 12, "slaves": 2, "waiting": 7, "skipped": 3}


@pytest.mark.parametrize(
    ("fields", "columns", "text"),
    [
        ({}, 79, "12 failed | 30400 jobs | 30.4% | 760/s | ETA 0:01:31 | 0:00:40 | 2 slaves"),
        ({}, 39, "12 failed | 30400 jobs | 30.4% | 760/s"),
        (
            {"engine": "engine: 12 of 40 slaves"},
            110,
            "12 failed | 30400 jobs | 30.4% | 760/s | ETA 0:01:31 | 0:00:40 | engine: 12 of 40 slaves",
        ),
        (
            {"state": RunState.THROTTLED, "reason": "nightly backup"},
            79,
            "throttled: nightly backup | 12 failed | 30400 jobs | 30.4% | 760/s | 0:00:40",
        ),
        ({"state": RunState.THROTTLED, "reason": "nightly backup"}, 39, "throttled: night... | 12 failed | 30.4%"),
        ({"state": RunState.PAUSED, "reason": "x" * 500}, 39, "paused: xxxxxxxx... | 12 failed | 30.4%"),
    ],
)
def test_narrow_line_says_first_why_it_waits_and_what_failed(fields, columns, text):
    """At 80 and at 40 columns; the rest is there as far as it fits."""
    snapshot = at(40.0, 30400, **{**BUSY, **fields})

    assert status_line(snapshot, rate_of((40.0, 30400)), COMMAND, columns) == text


def test_wide_line_says_first_why_it_waits_too():
    """Before what nobody looks for while nothing moves."""
    snapshot = at(40.0, 30400, state=RunState.THROTTLED, reason="nightly backup", **BUSY)

    assert status_line(snapshot, rate_of((40.0, 30400)), COMMAND, 200).startswith(
        "Current Job: 30400 | Rate:  760.00/s | Elapsed Time: 0:00:40 | throttled: nightly backup | 12 failed | 30.4%"
    )


@given(
    columns=st.integers(1, 200),
    reason=st.text(max_size=100),
    state=st.sampled_from([RunState.RUNNING, RunState.THROTTLED, RunState.PAUSED, RunState.DRAINING]),
    settled=st.integers(0, 10**12),
    failed=st.integers(0, 10**9),
)
def test_line_is_never_wider_than_it_may_be(columns, reason, state, settled, failed):
    """Whatever there is to say, no character is lost beyond the edge, and failures are not left out
    for the rest.
    """
    snapshot = at(40.0, settled, state=state, reason=reason, failed=failed, total=10**12, slaves=3)
    text = status_line(snapshot, rate_of((40.0, settled)), COMMAND, columns)

    assert len(text) <= columns
    assert not failed or columns < 60 or f"{failed} failed" in text


def test_status_line_says_how_the_engine_of_the_slaves_stands():
    """In the place of the slaves that are connected, which are among them."""
    snapshot = at(40.0, 30400, slaves=12, engine="engine: 12 of 40 slaves; scheduler away since 30 s")

    assert line(snapshot).endswith("0:00:40 | engine: 12 of 40 slaves; scheduler away since 30 s")


def test_status_line_leaves_out_what_says_nothing():
    """An empty queue, no failures and a slave that the run brought along are not mentioned."""
    assert line(at(2.0, 10)) == "Current Job: 10 | Rate:    5.00/s | Elapsed Time: 0:00:02"


def test_paused_run_says_why():
    """The reason is in the line, also while nothing is settled."""
    assert line(at(2.0, state=RunState.PAUSED, reason="the state cannot be written")).endswith(
        " | paused: the state cannot be written"
    )


def test_missing_slaves_are_asked_for_with_the_command():
    """A person can copy the command from the line; a local run waits for its own workers
    instead.
    """
    assert line(at(2.0, slaves=0), COMMAND).endswith(f" | waiting for slaves: {COMMAND}")
    assert line(at(2.0, slaves=0)).endswith(" | waiting for workers")


def test_control_characters_are_replaced():
    """A reason cannot move the cursor, change colours or begin a new line."""
    text = line(at(2.0, state=RunState.PAUSED, reason="a\x1b[31mb\nc\r\x9b2J"))

    assert text.endswith("paused: a?[31mb c ?2J")
    assert clean("Zürich 日本") == "Zürich 日本"


@pytest.mark.parametrize(
    ("settled", "total", "part"),
    [
        (0, 3, "0.0% of 3"),
        (1, 3, "33.3% of 3"),
        (99_999, 100_000, "99.9% of 100000"),
        (3, 3, "100.0% of 3"),
        (4, 3, "more than the 3 expected"),
    ],
)
def test_percent_is_cut_and_never_above_a_hundred(settled, total, part):
    """100 % means that the last job is settled; a total that was too small is called so."""
    assert line(at(2.0, settled, total=total)).split(" | ")[3] == part


def test_total_of_zero_is_left_out():
    """There is no percentage of nothing."""
    assert "%" not in line(at(2.0, 0, total=0))


def test_eta_follows_the_recent_rate():
    """After a slow start the time left is that of now, not that of the average."""
    rate = rate_of(*[(float(second), max(0, second - 100) * 100) for second in range(1, 121)])

    assert eta(at(120.0, 2000, total=12_000), rate) == pytest.approx(100.0)


def test_eta_of_slow_jobs_is_that_of_the_session():
    """A job a minute gives a time left, although most stretches of ten seconds settle none."""
    assert eta(at(600.0, 10, total=20), rate_of((595.0, 10), (600.0, 10))) == 600.0


@pytest.mark.parametrize(
    "fields",
    [
        {"elapsed": 9.0},
        {"total": None},
        {"settled": 200},
        {"settled_here": 0},
        {"state": RunState.PAUSED},
        {"state": RunState.FINISHED},
    ],
    ids=str,
)
def test_eta_is_left_out_where_there_is_no_saying(fields):
    """Too early, no total, nothing left, nothing settled yet, or not running."""
    snapshot = replace(at(20.0, 100, total=200), **fields)

    assert eta(snapshot, rate_of((snapshot.elapsed, snapshot.settled_here))) is None


def test_endless_eta_does_not_break_the_line():
    """A job in ten seconds and a great many to come is more than Python's dates can say."""
    assert "ETA ages" in line(at(20.0, 2, total=10**18))


def test_json_has_the_snapshot_and_its_schema():
    """Programs get plain fields, with the rate and the time left as numbers."""
    found = json.loads(json.dumps(to_json(at(20.0, 100, total=200, reason="\x1b\udcff"), rate_of((20.0, 100)))))

    assert found["schema"] == 1
    assert (found["settled"], found["total"], found["rate"], found["eta"]) == (100, 200, 5.0, 20.0)
    assert found["reason"] == "\x1b\udcff"
    assert {*Snapshot.__slots__} - {"why_sentence", "cure", "why_since", "most_job_seconds"} <= set(found)
    assert set(found["why"]) == {"code", "sentence", "cure", "since_at"}


# -- when it is drawn ------------------------------------------------------------------------------


def test_lines_come_early_then_often_then_seldom():
    """After a second, every 5 seconds for a minute, then every 30."""
    cadence = Cadence(0.0)
    times = [tenth / 10 for tenth in range(2000) if cadence.due(tenth / 10, "running")]

    assert times[0] == 1.0
    assert {round(later - earlier, 3) for earlier, later in itertools.pairwise(times) if later <= 60} == {5.0}
    assert times[-1] - times[-2] == 30.0
    assert len(times) == 13 + 4


def test_a_change_of_state_is_told_early():
    """A run that pauses says so within a second, not within half a minute."""
    cadence = Cadence(0.0)
    assert cadence.due(100.0, "running")

    assert not cadence.due(100.5, "paused")
    assert cadence.due(101.0, "paused")
    assert not cadence.due(102.5, "paused")


def test_auto_is_lines_where_there_is_no_terminal(clock):
    """A log file gets whole lines without carriage returns, each with the time of day."""
    stream = io.StringIO()
    progress = Progress("auto", stream, io.StringIO(), clock, now=lambda: "2026-11-28 13:08:52+0000")
    for _ in range(100):
        clock.now += 0.1
        progress.update(at(clock.now - 1000, 10))
    progress.close(at(10.0, 10, state=RunState.FINISHED))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all(text.startswith("2026-11-28 13:08:52+0000 Current Job: 10 | Rate: ") for text in lines)
    assert lines[-1].endswith("| finished")
    assert "\r" not in stream.getvalue()


def test_auto_is_lines_on_a_dumb_terminal(clock, monkeypatch):
    """A terminal that cannot go back in a line is not asked to."""
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    progress = Progress("auto", screen, io.StringIO(), clock)
    progress.close(at(1.0))

    assert "\r" not in screen.getvalue()


def test_json_goes_to_out_and_callbacks_output_does_not(clock):
    """Every line on standard output is a JSON object, whatever callbacks print."""
    stream, out = io.StringIO(), io.StringIO()
    progress = Progress("json", stream, out, clock, COMMAND)
    clock.now += 1.0
    progress.write("hello from a callback\n", out)
    progress.update(at(1.0, 1))
    progress.close(at(2.0, 2, state=RunState.FINISHED))

    assert [json.loads(text)["settled"] for text in out.getvalue().splitlines()] == [1, 2]
    assert stream.getvalue() == "hello from a callback\n"


def test_a_status_that_cannot_be_described_ends_nothing(clock):
    """What the snapshot has is shown all the same."""

    def describe(snapshot):
        raise KeyError("bug")

    out = io.StringIO()
    progress = Progress("json", io.StringIO(), out, clock, COMMAND, describe=describe)
    clock.now += 1.0
    progress.update(at(1.0, 1))
    progress.close(at(2.0, 2, state=RunState.FINISHED))

    assert [json.loads(text)["settled"] for text in out.getvalue().splitlines()] == [1, 2]


def test_none_shows_nothing_but_lines_that_were_written(clock):
    """Without progress, callbacks' output and messages still appear."""
    stream, out = io.StringIO(), io.StringIO()
    progress = Progress("none", stream, out, clock, COMMAND)
    clock.now += 100.0
    progress.update(at(100.0, slaves=0))
    progress.write("one", out)
    progress.close(at(101.0, state=RunState.FINISHED))

    assert (stream.getvalue(), out.getvalue()) == ("", "one\n")


# -- the bar ---------------------------------------------------------------------------------------


def drawn(screen: Screen) -> list[str]:
    """What was drawn, one after the other, without the blanks that erase."""
    return [text.rstrip() for text in screen.getvalue().replace("\n", "\r").split("\r") if text.strip()]


def test_bar_is_drawn_behind_the_status_and_ends_with_a_new_line(clock, monkeypatch):
    """On a terminal one line is drawn over and over, and the last one stays."""
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    progress = Progress("auto", screen, io.StringIO(), clock)
    progress.update(at(1.0, 50, total=100))
    progress.close(at(2.0, 100, total=100, state=RunState.FINISHED))

    first, last = drawn(screen)[0], drawn(screen)[-1]
    assert first.startswith("Current Job: 50 | Rate:   50.00/s | Elapsed Time: 0:00:01 | 50.0% of 100 |")
    assert last.startswith("Current Job: 100 ")
    assert screen.getvalue().endswith("\n")
    assert screen.getvalue().count("\n") == 1


def test_bar_is_filled_by_what_is_done(clock, monkeypatch):
    """Half done is half a bar."""
    monkeypatch.setenv("COLUMNS", "160")
    screen = Screen()
    Progress("bar", screen, io.StringIO(), clock).update(at(1.0, 50, total=100))
    bar = re.search(r"\|([^|]*)\|$", drawn(screen)[0])[1]

    assert 0.4 < sum(char != " " for char in bar) / len(bar) < 0.6


@given(
    columns=st.integers(10, 200),
    total=st.none() | st.integers(0, 300),
    settled=st.integers(0, 300),
    reason=st.text(max_size=40),
)
def test_bar_never_reaches_the_last_column(columns, total, settled, reason):
    """However narrow the terminal and however long or wide the text, the line does not wrap."""
    from tqdm.utils import disp_len

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        screen = Screen()
        progress = Progress("bar", screen, io.StringIO(), Clock(), COMMAND)
        progress.update(at(20.0, settled, total=total, reason=reason, slaves=0))
        progress.close(at(21.0, settled, total=total, reason=reason, state=RunState.STOPPED))

    assert all(disp_len(text) < columns for text in screen.getvalue().replace("\n", "\r").split("\r"))


def test_bar_is_redrawn_although_nothing_has_moved(clock):
    """The elapsed time goes on, so that a run that waits does not look dead."""
    screen = Screen()
    progress = Progress("bar", screen, io.StringIO(), clock)
    for second in range(4):
        clock.now += 1.0
        progress.update(at(float(second), 5))

    assert len([text for text in drawn(screen) if text.startswith("Current Job: 5")]) >= 4


def test_bar_is_drawn_no_more_than_four_times_a_second(clock):
    """However often there are news, the terminal is not flooded."""
    screen = Screen()
    progress = Progress("bar", screen, io.StringIO(), clock)
    progress.update(at(0.0))
    before = len(drawn(screen))
    for _ in range(100):
        clock.now += 0.01
        progress.update(at(1.0, 5))

    assert len(drawn(screen)) - before <= 4


def test_callbacks_output_appears_above_the_bar(clock):
    """The bar is taken off, the line written whole, and the bar drawn again below it."""
    screen = Screen()
    progress = Progress("bar", screen, screen, clock)
    progress.update(at(1.0, 5))
    progress.write("a line of the callback\n", screen)

    before, after = screen.getvalue().split("a line of the callback\n")
    assert before.endswith("\r")
    assert after.startswith("\rCurrent Job: 5 ")


def test_output_that_goes_elsewhere_does_not_disturb_the_bar(clock):
    """Standard output in a file gets the plain line, and the terminal nothing."""
    screen, file = Screen(), io.StringIO()
    progress = Progress("bar", screen, file, clock)
    progress.update(at(1.0, 5))
    before = screen.getvalue()
    progress.write("row", file)

    assert file.getvalue() == "row\n"
    assert screen.getvalue() == before


def test_braces_in_a_reason_are_text(clock):
    """What is shown is no format string."""
    screen = Screen()
    Progress("bar", screen, io.StringIO(), clock).update(at(1.0, reason="{bar} {0} {desc"))

    assert "{bar} {0} {desc" in drawn(screen)[0]


def test_slave_that_is_there_within_a_second_is_not_asked_for(clock):
    """Who starts both at once is told nothing."""
    screen = Screen()
    progress = Progress("bar", screen, io.StringIO(), clock, COMMAND)
    clock.now += 0.5
    progress.update(at(0.5, slaves=0))
    clock.now += 5.0
    progress.update(at(5.5, slaves=1))

    assert "start one with" not in screen.getvalue()


def test_tqdm_of_the_script_is_left_alone(clock):
    """No monitor thread, no lock between processes, and none of the script's own bars moves."""
    had_lock, bars, monitor = "_lock" in vars(tqdm), list(tqdm._instances), tqdm.monitor
    progress = Progress("bar", Screen(), io.StringIO(), clock)
    progress.update(at(1.0, 5))

    assert ("_lock" in vars(tqdm)) == had_lock
    assert list(tqdm._instances) == bars
    assert tqdm.monitor is monitor
    assert not [thread for thread in threading.enumerate() if "TMonitor" in type(thread).__name__]
    assert tqdm.monitor_interval != 0


# -- whatever happens to the terminal --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bar", "lines", "json", "none"])
def test_terminal_that_goes_away_does_not_stop_the_run(clock, mode):
    """Neither progress nor a callback's line raises when nobody can read it."""
    gone = Broken()
    progress = Progress(mode, gone, gone, clock, COMMAND)
    clock.now += 2.0
    progress.update(at(2.0, 5, slaves=0))
    progress.write("lost\n", gone)
    progress.close(at(3.0, 5))


def test_closed_progress_still_writes_lines(clock):
    """The last words of a run come after the bar; snapshots that come late are not drawn."""
    screen = Screen()
    progress = Progress("bar", screen, screen, clock)
    progress.update(at(1.0, 5))
    progress.close(at(2.0, 6))
    progress.close(at(3.0, 7))
    progress.update(at(4.0, 8))
    progress.write("All done\n", screen)

    assert screen.getvalue().endswith("\nAll done\n")
    assert "Current Job: 7" not in screen.getvalue()
    assert "Current Job: 8" not in screen.getvalue()


def test_line_that_the_terminal_cannot_encode_is_escaped(clock):
    """A name in another script is shown in some way, and nothing is lost."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Progress("none", stream, stream, clock).write("Zürich\n", stream)

    assert raw.getvalue() == b"Z\\xfcrich\n"


def test_lines_of_many_threads_stay_whole(clock):
    """Output of several workers comes at once, and no line is torn or lost."""
    screen = Screen()
    progress = Progress("bar", screen, screen, clock)
    progress.update(at(1.0, 5))

    def write(name: str) -> None:
        for number in range(50):
            progress.write(f"<{name} {number}>\n", screen)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = {text.rpartition("\r")[2] for text in screen.getvalue().split("\n")}
    assert {f"<{name} {number}>" for name in "abcd" for number in range(50)} <= found


def test_bar_can_be_thrown_away_unclosed(clock):
    """A run that ends by an exception leaves nothing behind that must be closed."""
    progress = Progress("bar", Screen(), io.StringIO(), clock)
    progress.update(at(1.0, 5))
    gone = weakref.ref(progress)
    del progress

    assert gone() is None
