"""Slaves that get no more jobs, as live changes: what the state keeps of them. Pure."""

from __future__ import annotations

from collections.abc import Collection

from taskmaster.master.broker.slaves import ConnectedSlaves, Quieted
from taskmaster.master.steering.records import QUIET, LiveChange
from taskmaster.units import show_moment

__all__ = ["change_of", "gone", "known_slaves", "quieted_by", "quiets", "said_at_start"]

ENDS, STAYS = "ends", "stays"


def change_of(ident: str, quieted: Quieted, by: str, at: float, reason: str) -> LiveChange:
    """Return what the state keeps of it."""
    return LiveChange(QUIET + ident, f"{ENDS if quieted.ends else STAYS} {quieted.name}", by, at, reason)


def quieted_by(change: LiveChange) -> tuple[str, Quieted]:
    """Return the id of the slave that a change is about, and what is to be remembered of it."""
    how, _, name = change.value.partition(" ")
    return change.name.removeprefix(QUIET), Quieted(name, how == ENDS)


def quiets(change: LiveChange) -> bool:
    """Return whether a change is one that quiets a slave."""
    return change.name.startswith(QUIET)


def gone(names: Collection[str], slaves: ConnectedSlaves) -> list[str]:
    """Return which of these live changes are of slaves that have said goodbye."""
    return [name for name in names if name.startswith(QUIET) and name.removeprefix(QUIET) not in slaves.quieted]


def known_slaves(slaves: ConnectedSlaves) -> dict[str, str]:
    """Return the names of all slaves that can be quieted, or get jobs again, by their ids: also
    those that were quieted and are away.
    """
    away = {ident: quieted.name for ident, quieted in slaves.quieted.items()}
    return {**away, **{slave.id: slave.name for slave in slaves}}


def said_at_start(changes: Collection[LiveChange], place: str) -> list[str]:
    """Return what is said at the start of slaves that an earlier session has quieted.

    Args:
        changes: All that is in force.
        place: Names the run in a command.
    """
    found = [change for change in changes if quiets(change)]
    if not found:
        return []
    names = [quieted_by(change)[1].name for change in found]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    last = found[-1]
    why = f' ("{last.reason}")' if last.reason else ""
    get, one = ("gets", "it") if len(names) == 1 else ("get", "that one")
    said = f"{shown} {get} no more jobs, by {last.by} on {show_moment(last.at)}{why}; "
    return [said + f"`tm-ctl quiet {names[0]} {place} --undo` lets {one} work again."]
