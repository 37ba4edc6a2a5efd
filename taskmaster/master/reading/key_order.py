"""Whether the keys of a source that goes on after a key come in an order in which that works.

The order of the keys is the source's affair, and nothing here settles a job or moves the watermark:
this only finds out when to warn. A source that takes ``last`` leaves jobs out on a resume if its
keys neither ascend nor descend throughout, or if it begins before ``last``. Only values that every
database orders as Python does are compared; text is not, for that depends on the collation.

It runs none of the user's code, but for what comparing two keys may call.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

__all__ = ["KeyOrder"]

COMPARABLE = frozenset({bool, int, float, bytes, Decimal, datetime, date, time, timedelta, UUID})
PAIRS = 50  # most pairs of keys compared in a batch that is not in order: more would cost too much
_NONE: Any = object()


class KeyOrder:
    """Follows the keys of one session, in the order in which the source has yielded them. Some may
    be left out: what is in order stays so.

    Args:
        last: the key after which the source was asked to go on; nothing on a first run.

    Attributes:
        fault: what is wrong with the order, as the end of a sentence; "" as long as nothing is.
    """

    def __init__(self, last: Any = _NONE) -> None:
        self.fault = ""
        self._last = last
        self._newest = last
        self._directions: dict[int, int] = {}  # 1 or -1, by the component of the key
        self._supposed: int | None = None  # component whose direction is known from ``last`` and the first key alone
        self._begun = False  # a key other than ``last`` has come

    def breaks(self, keys: Sequence[Any]) -> bool:
        """Compare some keys with each other and with those before them.

        Args:
            keys: at least one.

        Returns:
            Whether a fault was found, for the first time.
        """
        if self.fault:
            return False
        if len(keys) == 1 and self._goes_up(keys[0]):
            self._newest = keys[0]
            return False
        self._look_for_last(keys)
        self._compare(self._newest, keys[0])
        self._newest = keys[-1]
        if len(keys) == 1:
            return bool(self.fault)
        kind = type(keys[0])
        if (kind in COMPARABLE or kind is tuple) and _sorted(keys):
            # One comparison of the ends says which way all of them go.
            self._compare(keys[0], keys[-1])
        elif kind is not str:
            for before, after in pairwise(keys[: PAIRS + 1]):
                self._compare(before, after)
        return bool(self.fault)

    @property
    def has_newest(self) -> bool:
        """Whether a key has come, or was gone on after."""
        return self._newest is not _NONE

    @property
    def newest(self) -> Any:
        """The key that came last."""
        return self._newest

    def is_newest(self, key: Any) -> bool:
        """Return whether a key is the one that came last."""
        return bool(type(key) is type(self._newest) and key == self._newest)

    def goes_on(self, key: Any) -> bool:
        """Return whether a key goes on after the newest one, as far as the two can be compared."""
        probe = copy.copy(self)
        probe._directions = dict(self._directions)  # noqa: SLF001  # of this very class
        probe._compare(self._newest, key)  # noqa: SLF001  # of this very class
        return not probe.fault

    def _look_for_last(self, keys: Sequence[Any]) -> None:
        """Notice keys that cannot be compared when the one comes among them that was to be
        behind.
        """
        if self._last is _NONE or type(self._last) in COMPARABLE:
            return
        if not self._begun:
            keys = keys[next((at for at, key in enumerate(keys) if key != self._last), len(keys)) :]
            self._begun = bool(keys)
        if self._last in keys:
            self._begins_too_early("that same key came again after others")

    def _goes_up(self, key: Any) -> bool:
        """Return whether a number follows others as it should: nearly all do, and of a batch of one
        job, what follows takes three times as long.
        """
        ascends = self._directions.get(0) == 1 and self._supposed is None
        return ascends and type(key) is int and type(self._newest) is int and bool(key > self._newest)

    def _compare(self, before: Any, after: Any) -> None:
        if self.fault or before is _NONE:
            return
        if type(before) not in (tuple, list) or type(after) not in (tuple, list):
            self._follows(0, before, after, before, after)
            return
        for component, (one, other) in enumerate(zip(before, after, strict=False)):
            if self._follows(component, one, other, before, after):
                return

    def _follows(self, component: int, one: Any, other: Any, before: Any, after: Any) -> bool:
        """Compare a component of two keys; return whether those after it say nothing more."""
        if type(one) not in COMPARABLE or type(other) not in COMPARABLE:
            return bool(one != other)
        try:
            direction = (other > one) - (other < one)
        except (TypeError, ArithmeticError):
            return True  # a moment with and one without a time zone; a Decimal that is not a number
        if direction:
            self._goes(component, direction, before, after)
        return bool(direction)

    def _goes(self, component: int, direction: int, before: Any, after: Any) -> None:
        known = self._directions.setdefault(component, direction)
        if known == direction:
            if before is self._last:
                self._supposed = component
            elif self._supposed == component:
                self._supposed = None
        elif self._supposed == component:
            self._begins_too_early(f"it went on with {before!r:.100} and then {after!r:.100}")
        else:
            self.fault = f"{after!r:.100} came after {before!r:.100}, and the keys before went the other way"

    def _begins_too_early(self, how: str) -> None:
        self.fault = f"it was asked to go on after {self._last!r:.100}, and {how}"


def _sorted(keys: Sequence[Any]) -> bool:
    """Return whether C's own sorting finds the keys in order, which is much faster than to compare
    them here.
    """
    try:
        return sorted(keys) == keys or sorted(keys, reverse=True) == keys
    except (TypeError, ArithmeticError):
        return False
