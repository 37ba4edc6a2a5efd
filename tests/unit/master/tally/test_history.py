"""The numbers of a run over time: bounded, numbered, and the same after a restart."""

from __future__ import annotations

import itertools
import math

import pytest

from taskmaster.master.records.minute_row import HISTORY_COLUMNS, MinuteRow
from taskmaster.master.stores.sqlite.validation import check_history
from taskmaster.master.tally.history import HELD_NAMES, MOST_HISTORY_ROWS_ANSWERED, SPANS, History, Ring


def row(at: float, settled: int = 0, **known: float) -> list[float | None]:
    """A row with one job a second."""
    values = dict.fromkeys(HISTORY_COLUMNS, 0.0) | {"at": at, "settled": settled, **known}
    return [values[name] for name in HISTORY_COLUMNS]


def test_each_span_has_rows_as_far_apart_as_it_says() -> None:
    """A second, ten seconds, five minutes; the oldest go, and their numbers tell which are new."""
    history = History()
    for second in range(4000):
        history.add(row(1_000_000.0 + second, second))

    for span, apart in (("10m", 1.0), ("6h", 10.0), ("all", 300.0)):
        page = history.page(span, 0)
        times = [one[0] for one in page.rows]
        assert page.seconds == apart
        assert {later - earlier for earlier, later in itertools.pairwise(times[1:])} == {apart}
        assert len(times) <= MOST_HISTORY_ROWS_ANSWERED
    first = history.page("10m", 0)
    assert (len(first.rows), first.left) == (MOST_HISTORY_ROWS_ANSWERED, SPANS["10m"][1] - MOST_HISTORY_ROWS_ANSWERED)
    rest = history.page("10m", first.seq)
    assert (len(rest.rows), rest.left, rest.seq) == (100, 0, history.seq)
    assert rest.rows[-1][:2] == [1_003_999, 3999]
    assert history.page("10m", rest.seq).rows == []


def test_a_number_that_is_not_known_here_means_all() -> None:
    """A page that was opened before the master was restarted asks for a row that never was."""
    history = History()
    history.add(row(5.0, 1))

    assert history.page("10m", 5000).seq == 1
    assert len(history.page("10m", 5000).rows) == 1
    assert history.page("no such span", -3).seconds == 1.0


def test_rows_a_minute_go_on_after_a_restart() -> None:
    """With what was known, none is doubled, and what is unknown stays so."""
    history = History()
    for second in range(0, 300, 5):
        history.add(row(6000.0 + second, second, p95=None))
    rows = history.unwritten()
    history.written(rows)
    again = History(rows)
    again.add(row(6298.0, 298))
    again.add(row(6300.0, 300))

    assert [one.at for one in rows] == [6000, 6060, 6120, 6180, 6240, 6295]
    assert history.unwritten() == []
    assert [one.at for one in again.unwritten()] == [6300]
    page = again.page("6h", 0)
    assert [one[:2] for one in page.rows] == [
        [6000, 0], [6060, 60], [6120, 120], [6180, 180], [6240, 240], [6295, 295], [6298, 298], [6300, 300],
    ]  # fmt: skip
    assert page.rows[0][HISTORY_COLUMNS.index("p95")] is None
    assert page.rows[-1][HISTORY_COLUMNS.index("p95")] == 0


def test_a_session_that_is_killed_has_its_end() -> None:
    """The row of the moment is in the state, in place of the one before it; the next session leaves
    it there. At the end of a minute, and of a session that says its end, it is replaced, too.
    """
    history, state = History(), dict[int, MinuteRow]()

    def write() -> None:
        rows, over = history.unwritten(), history.over()
        for at in over:
            state.pop(at, None)
        state.update({one.at: one for one in rows})
        history.written(rows, over)

    history.begin(6000.0, 0, 0)
    for second in range(1, 83):
        history.add(row(6000.0 + second, 10 * second))
        write()
    assert list(state) == [6000, 6060, 6081]
    assert state[6081].values()[1] == 810
    assert (history.unwritten(), history.over()) == ([], [])

    history = History(list(state.values()))
    history.begin(6100.0, 815, 0)
    write()
    history.add(row(6107.0, 900))
    history.end(6108.0, 910, 0)
    write()
    assert list(state) == [6000, 6060, 6081, 6100, 6108]


def test_rows_that_cannot_be_written_stay_bounded() -> None:
    """While the disk is full, for longer than anybody waits."""
    history = History()
    for minute in range(5000):
        history.add(row(60.0 * minute))

    assert len(history.unwritten()) == SPANS["6h"][1]
    assert history.unwritten()[-1].at == 60 * 4999


def test_a_clock_that_is_set_back_stops_no_ring() -> None:
    """By an hour, once."""
    ring = Ring(10.0, 5)
    for at in (10_000.0, 10_010.0, 6000.0, 6010.0, 6011.0):
        ring.offer(row(at))

    assert [one[0] for one in ring.after(0, 9).rows] == [10_000, 10_010, 6000, 6010]


def test_a_clock_that_is_set_back_stops_no_rows_a_minute() -> None:
    """Neither those that are kept from then on, nor those that were not written yet."""
    history = History([MinuteRow(20_000, bytes(8 * (len(HISTORY_COLUMNS) - 1)))])
    history.add(row(10_000.0))
    written = history.unwritten()
    history.add(row(9000.0))
    history.written(written)
    history.add(row(9001.0))
    history.add(row(9060.0))

    assert [one.at for one in written] == [10_000]
    assert [one.at for one in history.unwritten()] == [9000, 9060]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_not_known(number: float) -> None:
    """A state that held it would be refused as damaged."""
    history = History()
    history.add(row(60.0, p95=number))
    (kept,) = history.unwritten()

    check_history(("r", *kept), len(kept.numbers))
    assert history.page("10m", 0).rows[0][HISTORY_COLUMNS.index("p95")] is None


def test_what_holds_a_run_is_a_number_with_a_name() -> None:
    """0 is nothing; the names are those of the held seconds."""
    assert HELD_NAMES == ("", "paused", "throttled", "rate", "source", "slaves", "state")


def test_a_session_of_seconds_is_in_the_state_from_its_beginning_to_its_end() -> None:
    """With what held it, and what it has settled is not taken for work of the next session."""
    held = HELD_NAMES.index("throttled")
    history = History()
    history.begin(6000.0, 0, 0)
    for second in range(1, 6):
        history.add(row(6000.0 + second, 80 * second, held=0 if second < 4 else held))
    history.end(6005.5, 430, 2)
    again = History(history.unwritten())
    again.begin(6020.0, 430, 2)

    found = [[one[0], one[1], one[HISTORY_COLUMNS.index("held")]] for one in again.page("6h", 0).rows]
    assert found == [[6000, 0, 0], [6003, 240, 0], [6005, 430, held], [6020, 430, 0]]
    assert [one.at for one in again.unwritten()] == [6020]


def test_what_changes_each_second_fills_no_state() -> None:
    """A guard at its limit holds the run now and then."""
    history = History()
    for second in range(600):
        history.add(row(6000.0 + second, held=second % 2))

    assert len(history.unwritten()) <= 10 * 5 + 1
