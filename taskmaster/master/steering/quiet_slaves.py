"""Slaves that get no more jobs, as live changes: what the state keeps of them. Pure."""

from __future__ import annotations

from collections.abc import Collection

from taskmaster.master.broker.slaves import ConnectedSlaves, Quieted
from taskmaster.master.records.steering_records import QUIET, LiveChange
from taskmaster.units import show_moment

__all__ = [
    "change_of",
    "gone",
    "known_slaves",
    "no_slave_takes_jobs",
    "quieted_by",
    "quiets",
    "said_at_start",
    "said_of_quiet",
    "said_of_undo",
    "shown",
]

ENDS, STAYS = "ends", "stays"


def change_of(ident: str, quieted: Quieted, at: float) -> LiveChange:
    """Return what the state keeps of it."""
    how = f"{ENDS if quieted.ends else STAYS} {quieted.name}"
    return LiveChange(QUIET + ident, how, quieted.by, at, quieted.reason)


def quieted_by(change: LiveChange) -> tuple[str, Quieted]:
    """Return the id of the slave that a change is about, and what is to be remembered of it."""
    how, _, name = change.value.partition(" ")
    return change.name.removeprefix(QUIET), Quieted(name, how == ENDS, change.by, change.reason)


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


def no_slave_takes_jobs(slaves: ConnectedSlaves) -> tuple[str, str]:
    """Return who made all connected slaves quiet, and the command that takes it back; two empty
    texts if any gets jobs, or if none is connected.
    """
    if not slaves.quieted:
        return "", ""
    connected = [slave for slave in slaves if slaves.is_connected(slave.id)]
    found = [slaves.quieted[slave.id] for slave in connected if slave.id in slaves.quieted]
    if not found or len(found) < len(connected):
        return "", ""
    names, last = list(dict.fromkeys(quieted.name for quieted in found)), found[-1]
    was = "was" if len(names) == 1 else "were"
    why = (f" by {last.by}" if last.by else "") + (f" ({last.reason})" if last.reason else "")
    return f"{shown(names)} {was} made quiet{why}", f"tm-ctl quiet {names[0]} --undo"


def said_of_quiet(names: list[str], *, stay: bool) -> str:
    """Return what these slaves do from now on, without the full stop.

    Args:
        names: The names of the slaves that are meant.
        stay: Whether they stay connected.
    """
    if len(names) == 1:
        end = "stays connected" if stay else "then ends"
        return f"{names[0]} gets no more jobs, gives back what it has not begun, and {end}"
    end = "stay connected" if stay else "then end"
    return f"{shown(names)} get no more jobs, give back what they have not begun, and {end}"


def said_of_undo(names: list[str], *, changed: bool) -> str:
    """Return what is said to the one who lets these slaves take jobs again.

    Args:
        names: The names of the slaves that are meant.
        changed: Whether any of them was quiet.
    """
    if len(names) == 1:
        return f"{names[0]} gets jobs again." if changed else f"{names[0]} was not quiet: nothing is changed."
    return f"{shown(names)} get jobs again." if changed else f"{shown(names)} were not quiet: nothing is changed."


def shown(names: list[str]) -> str:
    """Return the names of slaves; of many, only the first five."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def said_at_start(changes: Collection[LiveChange], state: str) -> list[str]:
    """Return what a session says at its start about slaves that an earlier one has quieted.

    Args:
        changes: All that is in force.
        state: The run as a command of ``tm-ctl`` names it.
    """
    found = [change for change in changes if quiets(change)]
    if not found:
        return []
    names = [quieted_by(change)[1].name for change in found]
    last = found[-1]
    why = f' ("{last.reason}")' if last.reason else ""
    get, one = ("gets", "it") if len(names) == 1 else ("get", "that one")
    said = f"{shown(names)} {get} no more jobs, by {last.by} on {show_moment(last.at)}{why}; "
    return [said + f"`tm-ctl quiet {names[0]} {state} --undo` lets {one} work again."]
