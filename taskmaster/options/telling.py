"""The options of what a run tells by itself: ``--notify``, ``--report`` and the log; a slave has a
log, too.

No message repeats the address of a webhook: anybody who has it can post there.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from taskmaster.errors import UsageError
from taskmaster.options.option import Section, amount, flag, text, texts
from taskmaster.records import record
from taskmaster.redaction import is_url, without_path
from taskmaster.units import seconds_of

__all__ = ["NOTIFIED", "LogOptions", "TellingOptions"]

NOTIFIED = (
    "started", "resumed", "paused", "unpaused", "failure", "stalled", "budget", "state-unwritable", "finished",
    "stopped",
)  # fmt: skip
"""The events of which ``--notify`` tells by default."""
OTHERS = ("throttled", "unthrottled", "changed", "slave-joined", "slave-left", "slave-lost", "state-writable")
ALL = "all"


def _check_notify(option: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{option} is no list of texts: write notify=['COMMAND'].")
    for one in value:
        if not one.strip():
            raise UsageError(f"{option} is empty: give a command, or the https:// address of a webhook.")
        if is_url(one):
            _check_url(option, one.strip())


def _check_url(option: str, url: str) -> None:
    shown = without_path(url)
    if "\N{HORIZONTAL ELLIPSIS}" in url or not url.isascii() or any(char.isspace() for char in url):
        raise UsageError(
            f"{option} is {shown}, which is no whole address: it is a secret, and is shown cut. Give all of it, or set "
            "TASKMASTER_NOTIFY to it."
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.username is not None:
        raise UsageError(f"{option} is {shown}, which is no address of a webhook: write https://HOST/PATH.")


def _check_notify_on(option: str, value: Any) -> None:
    _events_of(option, value)


def _events_of(option: str, value: Any) -> frozenset[str]:
    if not isinstance(value, str):
        raise UsageError(f"{option} is {value!r}: give names of events, as in 'finished,stalled'.")
    known = (*NOTIFIED, *OTHERS)
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    if names == [ALL]:
        return frozenset(known)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        named = f"{unknown[0]!r}, and there is no such event" if unknown else "empty"
        raise UsageError(f"{option} is {named}: give {ALL}, or some of {', '.join(known)}.")
    return frozenset(names)


@record(slots=False)
class LogOptions:
    """Where a command logs."""

    log_file: str | None = text(
        Section.OUTPUT, None, "PATH", "Also append the log, and the messages about the run, to this file."
    )
    log_json: bool = flag(
        Section.OUTPUT,
        "Log one JSON object a line, to the file of --log-file or, without one, to standard error.",
    )


@record(slots=False)
class TellingOptions:
    """The options of notifications and of the report."""

    notify: tuple[str, ...] = texts(
        Section.TELLING,
        "COMMAND|URL",
        "Run this command, or post to this https:// address, at each event of --notify-on. Can be given several times. "
        "Other users of this machine can see an address that is given here: set TASKMASTER_NOTIFY instead.",
        check=_check_notify,
    )
    notify_on: str | None = text(
        Section.TELLING,
        None,
        "EVENT,...",
        "Events to notify of, such as finished,stalled; or all.",
        check=_check_notify_on,
        unset="all but throttled, changed, and the coming and going of slaves",
    )
    stall: float | None = amount(
        Section.TELLING,
        "TIME",
        seconds_of,
        "Time without a settled job after which a run that nobody has paused counts as stalled.",
        unset="10m",
    )
    report: str | None = text(
        Section.OUTPUT,
        None,
        "PATH",
        "Write a report to this file at the end of the session, however it ends: a page of HTML without a script, or "
        "JSON if the name ends with .json.",
        unset="nowhere",
    )

    @property
    def notified(self) -> frozenset[str]:
        """The names of the events for which notifications are sent."""
        return frozenset(NOTIFIED) if self.notify_on is None else _events_of("--notify-on", self.notify_on)
