"""What can be set in a run while it goes on: the options of its command, checked as those are.

A change makes the options anew, with all that is changed in the place of what the command line had,
and the caps of the broker from them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.master.broker.limits import LONGEST_OUTAGE_SECONDS, Limits
from taskmaster.options.commands import MasterOptions, failure_budget
from taskmaster.options.option import from_options
from taskmaster.runtime.invocation import source_of
from taskmaster.units import seconds_of, show_rate

__all__ = ["SettingsOfRun", "limits_of"]

# Seconds that slaves of an earlier session have to come back, before others get what those ran.
RECLAIM_SECONDS = 5.0
NONE = "off"  # written for a setting without a value


def limits_of(options: MasterOptions, *, announced: bool) -> Limits:
    """Return the caps of the broker that options make.

    Args:
        options: Of the command, checked.
        announced: Slaves from elsewhere are awaited.
    """
    most, share = failure_budget(options.max_failures)
    # Whoever says how many jobs may fail wants them to fail, not to wait.
    outage = LONGEST_OUTAGE_SECONDS if options.max_failures is None else 0.0
    return from_options(
        Limits,
        options,
        outage=outage if options.outage is None else options.outage,
        max_failures=most,
        max_share=share,
        reclaim=RECLAIM_SECONDS if announced else 0.0,
    )


def _number(option: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{option} is {text!r}: give a whole number.")
    return int(text)


def _seconds(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return seconds_of(option, text)


def _text(_option: str, text: str) -> str:
    return text


# How the text of each setting is read. The checks are those of the options.
READ: dict[str, Callable[[str, str], Any]] = {
    "size": _number,
    "retries": _number,
    "backoff": _seconds,
    "crashes": _number,
    "job-timeout": _seconds,
    "nice": _seconds,
    "max-failures": _text,
    "outage": _seconds,
    "state-timeout": _seconds,
    "run-time": seconds_of,
    "limit": _number,
    "grace": _seconds,
}
AT_START = ("rate", "hours", "span", "lease", "lease-grace", "total", "state", "strict-code")
"""Options that ``rows`` shows beside those that can be set."""
CURES = {
    "rate": "`tm-ctl rate` changes it",
    "span": "resuming relies on it: stop the run, and start it again with another --span",
}


class SettingsOfRun:
    """The settings of one run; see the module.

    Args:
        options: Of its command.
        announced: Slaves from elsewhere are awaited.

    Attributes:
        rate: Jobs a second, as the command line has it.
    """

    def __init__(self, options: MasterOptions, *, announced: bool) -> None:
        self.rate = options.rate
        self._options = options
        self._announced = announced

    def start_value(self, name: str) -> str:
        """Return what a setting was at the start, as text.

        Raises:
            UsageError: It cannot be set, or there is none of that name; names the nearest.
        """
        if name in READ:
            return _shown(self._value(name))
        if name in CURES or name in AT_START:
            raise UsageError(
                f"{name} cannot be set while the run goes on: {CURES.get(name, 'it belongs to its start')}."
            )
        near = difflib.get_close_matches(name, READ, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(READ)}."
        raise UsageError(f"There is no setting {name!r}; {hint}")

    def changed(self, values: Mapping[str, str]) -> tuple[Limits, float | None, float]:
        """Return the limits, the run time and the grace that these values make.

        Raises:
            UsageError: A value is not allowed; names it.
        """
        made = {name.replace("-", "_"): self._read(name, text) for name, text in values.items()}
        options = replace(self._options, **made)
        options.check()
        return limits_of(options, announced=self._announced), options.run_time, options.grace

    def rows(self, live: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return each setting with its value, its default and where the value comes from."""
        found = []
        defaults = {one.name: one.default for one in fields(self._options) if one.default is not MISSING}
        for name in (*READ, *AT_START):
            default, value = defaults.get(name.replace("-", "_")), self._value(name)
            source = "live" if name in live else self._source(name, is_default=value == default)
            show = show_rate if name == "rate" else _shown
            shown = live.get(name, show(value))
            found.append({"name": name, "value": shown, "default": show(default), "source": source})
        return found

    @staticmethod
    def _source(name: str, *, is_default: bool) -> str:
        known = source_of(name.replace("-", "_"))
        if known and (known != "default" or is_default):
            return known
        return "default" if is_default else "script"

    def _value(self, name: str) -> Any:
        return getattr(self._options, name.replace("-", "_"))

    def _read(self, name: str, text: str) -> Any:
        self.start_value(name)  # it can be set
        defaults = {one.name: one.default for one in fields(self._options)}
        if text.lower() == NONE and defaults[name.replace("-", "_")] is None:
            return None
        return READ[name](f"--{name}", text)


def _shown(value: Any) -> str:
    if value is None:
        return NONE
    return f"{value:g}" if isinstance(value, float) else str(value)
