"""What a session says at its start about changes that earlier ones have left in force. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from taskmaster.master.records.steering_records import HOLD, RATE, LiveChange, is_setting
from taskmaster.master.steering import quiet_slaves
from taskmaster.master.steering.amounts import is_rate, rate_text
from taskmaster.units import show_moment, show_rate

__all__ = ["StartValues", "said_at_start"]


class StartValues(NamedTuple):
    """What the start says: the command line, the environment, a file, or the defaults.

    Attributes:
        rate: The rate; None if there is none.
        of: Gives the value of a setting, as text.
    """

    rate: float | None
    of: Callable[[str], str]


def said_at_start(
    killed: Iterable[str],
    live: Iterable[LiveChange],
    lost: Iterable[tuple[LiveChange, str]],
    start: StartValues,
    state: str,
) -> list[str]:
    """Return a sentence for each session that was killed, and for each change.

    Args:
        killed: What the trail says of sessions that could not say so themselves.
        live: The changes that are in force.
        lost: The changes that cannot be in force any more, each with the reason.
        start: What is in force without them.
        state: The run as a command of ``tm-ctl`` names it.
    """
    changes = list(live)
    found = [f"{reason}." for reason in killed]
    for change in changes:
        when = f"by {change.by} on {show_moment(change.at)}" + (f' ("{change.reason}")' if change.reason else "")
        if change.name == HOLD:
            until = f" until {show_moment(change.until)}" if change.until is not None else ""
            found.append(f"The run is paused{until}, {when}; `tm-ctl resume {state}` lets it go on.")
        elif change.name == RATE:
            otherwise = "have no limit" if start.rate is None else f"be {show_rate(start.rate)}"
            found.append(
                f"The rate {is_rate(rate_text(change.value))}, set {when}; otherwise it would {otherwise}. "
                f"`tm-ctl rate default {state}` goes back to that."
            )
        elif is_setting(change.name):
            found.append(
                f"{change.name} is {change.value}, set {when}; otherwise it would be {start.of(change.name)}. "
                f"`tm-ctl set {change.name}=default {state}` goes back to that."
            )
    found += quiet_slaves.said_at_start(changes, state)
    for change, why in lost:
        found.append(f"{change.name} was set to {change.value} by {change.by}, which is not in force now: {why}")
    return found
