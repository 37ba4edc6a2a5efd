"""The options that hold a run back: their spellings, help texts, and how their values are read.

A part of the table in ``taskmaster.cli.options``.
"""

from __future__ import annotations

from typing import Any

import click

from taskmaster.units import rate_of

__all__ = ["THROTTLING"]


class _Lines(click.types.StringParamType):
    """A text with blanks in it: in the environment, several stand in a line each."""

    envvar_list_splitter = "\n"


def _rate(_ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    return None if value is None else rate_of(param.opts[0], value)


THROTTLING: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "rate": (
        ("--rate",),
        {
            "metavar": "N",
            "callback": _rate,
            "help": "Most jobs a second, for all slaves together, like 100 or 0.5, or 30/m.  [default: no limit]",
        },
    ),
    "nice": (
        ("--nice",),
        {
            "type": float,
            "metavar": "RATIO",
            "help": "Let each worker rest after a batch, for RATIO times as long as the batch took: with 0.5 it works "
            "two thirds of the time, with 1 half of it.",
        },
    ),
    "hours": (
        ("--hours",),
        {
            "metavar": "WINDOWS",
            "help": "Hand jobs out only at these hours, like '22:00-06:00 Europe/Berlin' or "
            "'mon-fri 20:00-06:00, sat,sun 00:00-24:00'.  [default: always]",
        },
    ),
    "guard": (
        ("--guard",),
        {
            "type": _Lines(),
            "multiple": True,
            "metavar": "NAME=LIMIT@DSN",
            "help": "Hand nothing out while replication_lag, active_connections, long_transactions or locks_waiting "
            "of a PostgreSQL database is above a limit, like replication_lag=5s@DSN. Can be given several times.",
        },
    ),
}
