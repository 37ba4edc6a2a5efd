"""The options that end a run early, or only try it: their spellings, help texts, and how their
values are read.

A part of the table in ``taskmaster.cli.options``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from taskmaster.errors import UsageError
from taskmaster.units import seconds_of, share_of

__all__ = ["DRY_RUN", "STOPPING"]

DRY_RUN = 10  # jobs that --dry-run looks at if nobody says how many


def _amount(
    read: Callable[[str, object], float],
) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """The callback for an option that is written with a unit."""
    return lambda _ctx, param, value: None if value is None else read(param.opts[0], value)


def _count(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        # It may have been the next word, which was not meant for it.
        raise UsageError(
            f"{param.opts[0]} is {value!r}, which is not a number of jobs: write {param.opts[0]} as the last word, or "
            f"with its number, as in {param.opts[0]}={DRY_RUN}."
        ) from None


STOPPING: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "run_time": (
        ("--run-time",),
        {
            "metavar": "TIME",
            "callback": _amount(seconds_of),
            "help": "Stop after that time, like 90s, 15m or 1h30m, with exit code 75; the same command resumes.",
        },
    ),
    "limit": (
        ("--limit",),
        {
            "type": int,
            "metavar": "N",
            "help": "Stop when N jobs are settled, with exit code 75; the same command resumes.",
        },
    ),
    "dry_run": (
        ("--dry-run",),
        {
            "is_flag": False,
            "flag_value": str(DRY_RUN),
            "metavar": "[N]",
            "callback": _count,
            "help": f"Show the first N jobs ({DRY_RUN}), and see whether they could be run; run nothing.",
        },
    ),
    "job": (
        ("--job",),
        {
            "metavar": "KEY",
            "help": "Run only the job with this key, in this process, as for a debugger; the run is not touched.",
        },
    ),
    "sample": (
        ("--sample",),
        {
            "metavar": "SHARE",
            "callback": _amount(share_of),
            "help": "Rehearse: run this share of all jobs, like 0.1% or 0.001, without the run's state.",
        },
    ),
    "strict_code": (
        ("--strict-code",),
        {"is_flag": True, "help": "Refuse a slave whose file with the callback is not the master's."},
    ),
}
