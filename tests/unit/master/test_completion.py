"""Which share of a run is settled: what the watermark has passed and is parked is not."""

from __future__ import annotations

import pytest

from taskmaster import keys
from taskmaster.master.completion import Completion
from taskmaster.master.reading.source import Source
from taskmaster.master.records.job_records import ParkedJob
from taskmaster.master.records.run_record import Checkpoint, RunRecord
from taskmaster.sources.key_ranges import RangeSource


class Numbers(RangeSource):
    """Ranges of the keys from 0 to 100."""

    def __init__(self) -> None:
        super().__init__(10, None)

    def _border(self, lo: int | None, hi: int | None, count: int, *, descending: bool = False) -> int | None:
        if hi is None:
            return 100 if descending else 0
        border = (0 if lo is None else lo) + count
        return border if border <= hi else None

    def _count(self, lo: int | None, hi: int) -> int:
        return hi - (lo or 0)

    def _range(self, lo: int | None, hi: int) -> tuple[int | None, int]:
        return lo, hi

    def _check_end(self, key: int) -> None:
        assert 0 <= key <= 100

    def _reckons(self) -> bool:
        return True


class Rows:
    """A source with places and nothing else: the keys from 0 to 100."""

    def iterate(self, last: object) -> list[int]:
        del last
        return []

    def position(self, key: int) -> float:
        return key / 100


def parked(number: int, key: object) -> ParkedJob:
    """A parked job."""
    return ParkedJob(number, keys.encode(key), b"", b"")


def checkpoint(mark: object, settled: int, park: tuple = (), unpark: tuple = (), finished: bool = False) -> Checkpoint:
    """A checkpoint at a key."""
    return Checkpoint(mark=keys.encode(mark), settled=settled, park=list(park), unpark=list(unpark), finished=finished)


def ranges() -> Source:
    """Key ranges whose ends are known, as they are when the source is read."""
    source = Source(Numbers())
    source.bounds(None)
    return source


def test_ranges_that_are_only_planned_count_for_nothing() -> None:
    """The watermark passes them before anybody has one: each counts with its own share, when it is
    settled.
    """
    share = Completion(ranges(), RunRecord("run", resumed=False))
    share.update(checkpoint((10, 40), 0, [parked(0, (None, 10)), parked(1, (10, 40))]))

    assert share.settled == 0.0

    share.update(checkpoint((10, 40), 1, unpark=(1,)))

    assert share.settled == pytest.approx(0.3)

    share.update(checkpoint((40, 90), 2, [parked(2, (40, 90))], (0,)))

    assert share.settled == pytest.approx(0.4)

    share.update(checkpoint((40, 90), 3, unpark=(2,)))

    assert share.settled == pytest.approx(0.9)


def test_the_halves_of_a_range_that_failed_are_as_much_as_it_was() -> None:
    """One of them is settled, and the other one is not."""
    share = Completion(ranges(), RunRecord("run", resumed=False))
    share.update(checkpoint((None, 40), 0, [parked(0, (None, 40))]))
    share.update(checkpoint((None, 40), 0, [parked(1, (None, 20)), parked(2, (20, 40))], (0,)))

    assert share.settled == 0.0

    share.update(checkpoint((None, 40), 1, unpark=(1,)))

    assert share.settled == pytest.approx(0.2)


def test_a_resumed_run_goes_on_with_what_was_settled() -> None:
    """What is still parked from the earlier session is not settled before this one has done it: the
    time that is left is reckoned from what is new.
    """
    record = RunRecord(
        "run",
        resumed=True,
        mark=keys.encode((60, 80)),
        parked=[parked(3, (10, 30)), parked(4, (60, 80))],
        settled=2,
    )
    share = Completion(ranges(), record)
    share.update(checkpoint((60, 80), 3, unpark=(4,)))

    assert share.before == pytest.approx(0.4)
    assert share.settled == pytest.approx(0.6)

    share.update(checkpoint((80, 100), 5, unpark=(3,)))

    assert share.before == pytest.approx(0.4)
    assert share.settled == pytest.approx(1.0)


def test_what_was_settled_before_the_source_was_looked_at_is_not_lost() -> None:
    """A table's ends are known a moment after the first parked jobs of a resumed run are handed
    out.
    """
    source = Source(Numbers())
    record = RunRecord("run", resumed=True, mark=keys.encode((None, 50)), parked=[parked(0, (None, 50))])
    share = Completion(source, record)
    share.update(checkpoint((None, 50), 1, unpark=(0,)))

    assert share.settled is None

    source.bounds(None)
    share.update(checkpoint((None, 50), 1))

    assert (share.before, share.settled) == (0.0, 0.5)


def test_a_parked_job_of_another_source_counts_like_any_other_job() -> None:
    """Nobody knows how much of the work it is: of ten jobs up to the watermark, it is a tenth."""
    share = Completion(Source(Rows()), RunRecord("run", resumed=False))
    share.update(checkpoint(50, 10))

    assert share.settled == 0.5

    share.update(checkpoint(100, 19, [parked(0, 100)]))

    assert share.settled == pytest.approx(0.95)

    share.update(checkpoint(100, 0, [parked(number, number) for number in range(4)]))

    assert share.settled == 0.0


def test_a_run_that_is_over_is_settled() -> None:
    """Whatever the last key is."""
    share = Completion(Source(Rows()), RunRecord("run", resumed=False))
    share.update(checkpoint(98, 10, finished=True))

    assert share.settled == 1.0


def test_a_source_without_places_has_no_share() -> None:
    """Neither at the start nor at the end."""
    share = Completion(Source([1, 2]), RunRecord("run", resumed=False))
    share.update(checkpoint(2, 2, finished=True))

    assert share.settled is None
