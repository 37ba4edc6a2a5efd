"""Pages follow each other along the key, shrink where they are too slow, and grow again."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from taskmaster.sources.database_retry import TooSlow
from taskmaster.sources.keyset_rows import KeysetSource, RowsPage, UnreadableRow


class Numbers(KeysetSource):
    """Numbers up to a last one, of which so many can be read at once."""

    def __init__(self, last: int, chunk: int, *, quick: int = 10**9, descending: bool = False) -> None:
        super().__init__(chunk, descending=descending)
        self.keys = list(range(1, last + 1))
        self.quick = quick
        self.asked: list[int] = []

    def __repr__(self) -> str:
        return "numbers"

    def _page(self, after: Any, rows: int, *, within: int) -> RowsPage:
        self.asked.append(rows)
        if rows > self.quick:
            raise TooSlow("it took too long.")
        found = self.keys[after or 0 :][:rows]
        return RowsPage(found, found[-1] if found else None, len(found) < rows)

    def _end(self, *, descending: bool) -> Any:
        return self.keys[-1 if descending else 0] if self.keys else None

    def _is_below_another(self, key: Any) -> bool:
        return key < len(self.keys)

    def _check_end(self, key: Any) -> None:
        pass

    def _reckons(self) -> bool:
        return True


@pytest.mark.parametrize("chunk", [1, 3, 10, 11])
def test_the_pages_are_the_rows(chunk):
    """From the beginning, or after a key."""
    assert [row for page in Numbers(10, chunk)._walk(None) for row in page] == list(range(1, 11))
    assert [row for page in Numbers(10, chunk)._walk(4) for row in page] == list(range(5, 11))


def test_a_page_that_is_too_slow_is_asked_for_again_with_fewer_rows(caplog):
    """And the next ones have slowly more, so that the time is not wasted again and again."""
    source = Numbers(300, 100, quick=30)
    with caplog.at_level(logging.WARNING, "taskmaster"):
        found = [row for page in source._walk(None) for row in page]

    assert found == list(range(1, 301))
    assert source.asked[:5] == [100, 25, 29, 33, 8]
    assert "a page of numbers was too slow, and is asked for again with 25 rows: it took too long." in caplog.text


def test_positions_go_the_way_that_is_read():
    """From the highest key down, the highest is the beginning."""
    for descending, expected in ((False, [0.0, 1.0]), (True, [1.0, 0.0])):
        source = Numbers(11, 5, descending=descending)
        source.bounds(None)
        assert [source.position(key) for key in (1, 11)] == expected


def test_an_unreadable_row_fails_where_it_is_opened():
    """No callback meets it, and what it says is the exception's text."""
    with pytest.raises(ValueError, match="year -44"):
        pickle.loads(pickle.dumps(UnreadableRow("year -44 is out of range")))
