"""Variables of the environment that look like options, and are none: a slip such as
``TASKMASTER_RETRYS=0`` would be overlooked.

They are warned of, and never refused: a variable of somebody else's may begin like that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields

from taskmaster.cli.slips import CALLED_OTHERWISE, LIKENESS
from taskmaster.options.commands import MasterOptions, RunOptions, SlaveOptions

__all__ = ["unknown_variables"]

PREFIX = "TASKMASTER_"
OPTIONS = {one.name.upper() for cls in (MasterOptions, RunOptions, SlaveOptions) for one in fields(cls)}
# Options of commands that are none of a run's, and what no option is.
NO_RUN_OPTIONS = {
    *("CONFIG", "NO_CONFIG", "NO_PROGRESS", "JSON", "LOOK", "WATCH", "STATEMENT", "SECONDS"),
    *("HOME", "OTHER_DATABASES", "SEED", "PROVE", "PROOFS"),
    # What a command of --notify is given, which may start a run.
    *("EVENT", "RUN", "TARGET", "STATE", "RUN_STATE", "REASON", "TEXT", "SETTLED", "FAILED", "TOTAL"),
    *("ETA_SECONDS", "ELAPSED_SECONDS", "EXIT_CODE", "RESUME_COMMAND"),
}
# Of the tests; and of services called taskmaster-..., which Kubernetes, and Docker for a --link,
# name like that.
FOREIGN = re.compile(
    r"TEST(_.*)?|(.*_)?SERVICE_(HOST|PORT(_.*)?)|(.*_)?PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?|(.*_)?NAME|(.*_)?ENV_.+"
)


def unknown_variables(environment: Iterable[str]) -> str:
    """Return which variables nothing knows, and what may be meant, as a sentence; "" if there are
    none.

    Args:
        environment: The names of all variables.
    """
    named = sorted(name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX))
    unknown = [name for name in named if name not in OPTIONS | NO_RUN_OPTIONS and not FOREIGN.fullmatch(name)]
    if not unknown:
        return ""
    which = "which is no option and is" if len(unknown) == 1 else "which are no options and are"
    return f"The environment has {', '.join(map(_with_what_is_meant, unknown))}, {which} not read."


def _with_what_is_meant(name: str) -> str:
    import difflib  # few commands need it

    meant = CALLED_OTHERWISE.get(name.lower().replace("_", "-"))
    near = [meant] if meant is not None else difflib.get_close_matches(name, sorted(OPTIONS), 1, LIKENESS)
    return f"{PREFIX}{name}" + (f" (did you mean {PREFIX}{near[0].replace('-', '_').upper()}?)" if near else "")
