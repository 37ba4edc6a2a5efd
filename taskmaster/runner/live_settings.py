"""The settings of a run, and which can be set while it goes on: the options of its command, checked
as those are.

A change makes the options anew, with all that is changed in the place of what the command line had,
and the caps of the broker from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.guards import Pace
from taskmaster.master.broker.limits import LONGEST_OUTAGE_SECONDS, Limits
from taskmaster.options.commands import DEFAULT_SPAN, MasterOptions, failure_budget
from taskmaster.options.option import from_options, option_of
from taskmaster.redaction import is_url, without_password, without_path
from taskmaster.runner.announcements import shown_guard
from taskmaster.runtime.invocation import source_of
from taskmaster.units import free_seconds_of, seconds_of, show_rate

__all__ = ["SettingsOfRun", "limits_of"]

# Seconds that slaves of an earlier session have to come back, before others get what those ran.
RECLAIM_SECONDS = 5.0
WITHOUT_VALUE = "off"  # written for a setting without a value


def limits_of(options: MasterOptions, *, announced: bool) -> Limits:
    """Return the caps of the broker that options make.

    Args:
        options: The options of the command, checked.
        announced: Whether slaves from elsewhere are awaited.
    """
    most, fraction = failure_budget(options.max_failures)
    # A command that says how many jobs may fail wants them to fail, not to wait.
    outage = LONGEST_OUTAGE_SECONDS if options.max_failures is None else 0.0
    return from_options(
        Limits,
        options,
        outage=outage if options.outage is None else options.outage,
        max_failures=most,
        max_failed_fraction=fraction,
        span_follows=options.span == DEFAULT_SPAN,
        reclaim=RECLAIM_SECONDS if announced else 0.0,
    )


def _number(option: str, text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise UsageError(f"{option} is {text!r}: give a whole number.")
    return int(text)


def _ratio(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}: give a number.") from None


def _text(_option: str, text: str) -> str:
    return text


# How the text of each setting is read. The checks are those of the options.
READERS: dict[str, Callable[[str, str], Any]] = {
    "size": _number,
    "retries": _number,
    "backoff": free_seconds_of,
    "crashes": _number,
    "job-timeout": free_seconds_of,
    "nice": _ratio,
    "max-failures": _text,
    "outage": free_seconds_of,
    "state-timeout": free_seconds_of,
    "run-time": seconds_of,
    "limit": _number,
    "grace": free_seconds_of,
}
AT_START = ("rate", "hours", "span", "lease", "lease-grace", "total", "state", "strict-code")
"""Options that ``rows`` shows beside those that can be set."""
CURES = {
    "rate": "`tm-ctl rate` changes it",
    "span": "resuming relies on it: stop the run, and start it again with another --span",
    **{name: f"stop the run, and start it again with another --{name}" for name in ("pace", "guard", "hours")},
}


class SettingsOfRun:
    """The settings of one run; see the module.

    Args:
        options: The options of its command.
        announced: Whether slaves from elsewhere are awaited.
        named: The pace that the module names; None if it names none.

    Attributes:
        rate: Jobs a second, as the command line has it.
    """

    def __init__(self, options: MasterOptions, *, announced: bool, named: Pace | None = None) -> None:
        self.rate = options.rate
        self._named = named
        self._options = options
        self._announced = announced

    def start_value(self, name: str) -> str:
        """Return what a setting was at the start, as text.

        Raises:
            UsageError: It cannot be set, or there is none of that name; names the nearest.
        """
        if name in READERS:
            return _shown(self._value(name))
        if name.replace("-", "_") in {one.name for one in fields(self._options)}:
            raise UsageError(
                f"{name} cannot be set while the run goes on: {CURES.get(name, 'it belongs to its start')}."
            )
        import difflib

        near = difflib.get_close_matches(name, READERS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(READERS)}."
        raise UsageError(f"There is no setting {name!r}; {hint}")

    def changed(self, values: Mapping[str, str]) -> tuple[Limits, float | None, float]:
        """Return the limits, the run time and the grace that these values make.

        Raises:
            UsageError: A value is not allowed; names it.
        """
        options = self._with(values)
        options.check()
        return limits_of(options, announced=self._announced), options.run_time, options.grace

    def rows(self, live: Mapping[str, str], *, everything: bool = False) -> list[dict[str, Any]]:
        """Return settings, each with its value, its default and where the value comes from.

        Args:
            live: What was changed since the start, by name.
            everything: Whether to return all options, and not only the most important ones.
        """
        found = []
        known = {one.name.replace("_", "-"): one for one in fields(self._options)}
        rest = [name for name in known if name not in READERS and name not in AT_START] if everything else []
        for name in (*READERS, *AT_START, *rest):
            one = known[name]
            default = None if one.default is MISSING else one.default
            value = self._value(name)
            unset = WITHOUT_VALUE if name in READERS else option_of(one).unset or WITHOUT_VALUE
            source = "live" if name in live else self._source(name, is_default=value == default)
            shown = live.get(name) or _as_text(name, value, unset)
            if value is None and name == "pace":
                shown, source = (WITHOUT_VALUE, source) if self._named is None else (str(self._named), "module")
            elif name == "outage":
                unset = option_of(one).unset or unset
                # Beside settings, a pause and the rate are in what was changed.
                changed = {setting: text for setting, text in live.items() if setting in READERS}
                shown = _shown(limits_of(self._with(changed), announced=self._announced).outage)
            found.append({"name": name, "value": shown, "default": _as_text(name, default, unset), "source": source})
        return found

    @staticmethod
    def _source(name: str, *, is_default: bool) -> str:
        known = source_of(name.replace("-", "_"))
        if known and (known != "default" or is_default):
            return known
        return "default" if is_default else "script"

    def _value(self, name: str) -> Any:
        return getattr(self._options, name.replace("-", "_"))

    def _with(self, values: Mapping[str, str]) -> MasterOptions:
        made = {name.replace("-", "_"): self._read(name, text) for name, text in values.items()}
        return replace(self._options, **made)

    def _read(self, name: str, text: str) -> Any:
        self.start_value(name)  # it can be set
        defaults = {one.name: one.default for one in fields(self._options)}
        if text.lower() == WITHOUT_VALUE and name == "outage":
            return 0.0  # None would be an hour
        if text.lower() == WITHOUT_VALUE and defaults[name.replace("-", "_")] is None:
            return None
        return READERS[name](f"--{name}", text)


def _shown(value: Any, unset: str = WITHOUT_VALUE) -> str:
    if value is None or value is False or value == ():
        return unset
    if isinstance(value, float):
        return f"{value:g}"
    if value is True:
        return "on"
    return str(value) if isinstance(value, int | str | os.PathLike | Pace) else type(value).__name__


# How a value is shown that is none of these, or that is a secret, as a whole or in part.
SHOWN_AS: dict[str, Callable[[Any], str]] = {
    "rate": show_rate,
    "key": lambda _: "given, and not shown",
    "notify": lambda given: ", ".join(without_path(one) if is_url(one) else one for one in given),
    "guard": lambda given: ", ".join(map(shown_guard, given)),
    "env": lambda given: ", ".join(one.partition("=")[0] for one in given),
    "ship": lambda given: ", ".join(map(str, given)),
}


def _as_text(name: str, value: Any, unset: str) -> str:
    """Return a value as anybody may see it who looks at the run."""
    show = SHOWN_AS.get(name)
    if show is None or (not value and name != "rate"):
        return without_password(_shown(value, unset))
    return without_password(show(value))
