"""The options that say how the workers of one machine run jobs: their spellings and help texts.

``taskmaster.cli.options`` has them in its table.
"""

from __future__ import annotations

from typing import Any

from taskmaster.units import bytes_of

__all__ = ["WORKERS"]

WORKERS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "processes": (
        ("--processes",),
        {"type": int, "metavar": "N", "help": "Worker processes.  [default: as many as there are usable CPUs]"},
    ),
    "threads": (("--threads",), {"type": int, "metavar": "N", "help": "Jobs at once in each worker, in threads."}),
    "concurrency": (
        ("--concurrency",),
        {"type": int, "metavar": "N", "help": "Jobs at once in each worker, if the callback is an `async def`."},
    ),
    "batch": (
        ("--batch",),
        {
            "type": int,
            "metavar": "N",
            "help": "Jobs in a batch, if not chosen by what they take; never fewer than a worker runs at once.",
        },
    ),
    "jobs_per_worker": (
        ("--jobs-per-worker",),
        {"type": int, "metavar": "N", "help": "Jobs after which a worker is replaced by a new one."},
    ),
    "memory_per_worker": (
        ("--memory-per-worker",),
        {
            "metavar": "AMOUNT",
            "callback": lambda _ctx, param, value: None if value is None else bytes_of(param.opts[0], value),
            "help": "Memory, like 500M or 2G, above which a worker is replaced by a new one, between two jobs.",
        },
    ),
}
