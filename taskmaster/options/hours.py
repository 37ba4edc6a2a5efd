"""The hours in which a run may hand jobs out: windows of the week in a time zone. Pure.

A window is a span of wall-clock time: ``22:00-06:00`` opens at ten in the evening and closes at six
in the morning, also on the two days of the year on which the night between is an hour shorter or
longer. A window that passes midnight belongs to the day on which it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from taskmaster.errors import UsageError
from taskmaster.records import record

__all__ = ["Hours", "parse_hours"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
HINT = "write it like '22:00-06:00 Europe/Berlin' or 'mon-fri 20:00-06:00, sat,sun 00:00-24:00 UTC'"
_WINDOW = re.compile(r"(?:(?P<days>[a-z]{3}(?:[-,][a-z]{3})*) +)?(?P<opens>\d{1,2}:\d\d)-(?P<closes>\d{1,2}:\d\d)")


@record()
class Window:
    """One window.

    Attributes:
        days: The days of the week on which it opens; 0 is Monday.
        opens: When it opens, since midnight.
        closes: When it closes, since the same midnight; more than 24 hours if that is on the next
            day.
    """

    days: frozenset[int]
    opens: timedelta
    closes: timedelta


@record()
class Hours:
    """The windows of the week.

    Attributes:
        text: The windows as they were given, for messages.
        windows: The windows, in any order; they may overlap.
        zone: The time zone; None: that of the machine.
    """

    text: str
    windows: tuple[Window, ...]
    zone: tzinfo | None

    def why(self, now: datetime) -> str:
        """Return why jobs have to wait at a moment, with the time at which they go on; "" if they
        need not.

        Args:
            now: The moment, with its time zone.
        """
        opening = None
        for opens, closes in self._around(now):
            if opens <= now < closes:
                return ""
            if opens > now and (opening is None or opens < opening):
                opening = opens
        if opening is None:  # no moment of the next days lies in a window, as with one that DST leaves out
            return f"outside of the hours {self.text}"
        local = opening.astimezone(self.zone)
        left = int((opening - now).total_seconds() / 60) + 1
        wait = f"{left // 60} h {left % 60} min"
        return f"outside of the hours {self.text}; jobs go on {local:%A} at {local:%H:%M}, in {wait}"

    def _around(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield when each window opens and closes, from yesterday to a week from now."""
        today = now.astimezone(self.zone).date()
        for ahead in range(-1, 9):
            day = today + ahead * DAY
            for window in self.windows:
                if day.weekday() in window.days:
                    yield self._moment(day, window.opens), self._moment(day, window.closes)

    def _moment(self, day: date, since_midnight: timedelta) -> datetime:
        # Wall-clock times are added before the zone comes in: adding hours to a moment would be
        # wrong by one on the days on which the clocks change.
        naive = datetime.combine(day, time()) + since_midnight
        return (naive.replace(tzinfo=self.zone) if self.zone else naive.astimezone()).astimezone(UTC)


def parse_hours(text: str) -> Hours:
    """Read windows, such as ``mon-fri 20:00-06:00, sat,sun 00:00-24:00 Europe/Berlin``.

    Args:
        text: Windows with commas between them, each with its days if it is not open every day, and
            a time zone at the end. Without a time zone, that of the machine is meant.

    Raises:
        UsageError: The text has another form, or names an unknown day or time zone.
    """
    words = " ".join(text.split())
    match = re.fullmatch(r"(?P<windows>.*\d)(?: +(?P<zone>[A-Za-z]\S*))?", words)
    if match is None:
        raise UsageError(f"--hours is {text!r}: {HINT}.")
    # A comma stands between windows and between days: one that ends a window follows a digit.
    parts = [part.strip() for part in re.split(r"(?<=\d) *, *", match["windows"])]
    windows = tuple(_window(part.lower(), text) for part in parts)
    return Hours(words, windows, _zone(match["zone"], text))


def _window(part: str, text: str) -> Window:
    match = _WINDOW.fullmatch(part)
    if match is None:
        raise UsageError(f"--hours is {text!r}, and {part!r} is not a window: {HINT}.")
    opens, closes = _since_midnight(match["opens"], text), _since_midnight(match["closes"], text)
    if opens == closes or opens >= DAY:
        raise UsageError(f"--hours is {text!r}, and {part!r} has no length: for whole days write 00:00-24:00.")
    if closes < opens:
        closes += DAY
    return Window(_days(match["days"], text), opens, closes)


def _since_midnight(clock: str, text: str) -> timedelta:
    hours, minutes = map(int, clock.split(":"))
    found = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or found > DAY:
        raise UsageError(f"--hours is {text!r}, and {clock} is not a time of day: give 00:00 to 24:00.")
    return found


def _days(given: str | None, text: str) -> frozenset[int]:
    if given is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in given.split(","):
        names = part.split("-")
        unknown = [name for name in names if name not in DAYS]
        if unknown or len(names) > 2:
            what = f"{unknown[0]!r} is not a day" if unknown else f"{part!r} is not a range of days"
            raise UsageError(f"--hours is {text!r}, and {what}: the days are {', '.join(DAYS)}.")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        found.update(day % 7 for day in range(first, (last if last >= first else last + 7) + 1))
    return frozenset(found)


def _zone(name: str | None, text: str) -> tzinfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(
            f"--hours is {text!r}, and {name!r} is not a time zone that this machine knows: give one like "
            "Europe/Berlin or UTC. Where the machine has no time zones, `pip install tzdata` brings them."
        ) from None
