"""PostgreSQL: tables as sources of jobs, key ranges, connections for workers, and guards for the
throttle.

- ``rows`` (with ``pages``, ``prefetch``, ``coverage``) and ``ranges``: tables as sources;
- ``tables``, ``catalog``, ``key_operators``, ``statements``, ``values``: what they ask of the
  server, and how;
- ``connections``, ``dead_links``, ``dsn``: a worker's connection;
- ``guards``, ``write_guards``, ``guard_statement``, ``probe``: for the throttle.

Imported by the user's module, on the master and on the slaves; what is heavy is imported when it is
used. All SQL of Taskmaster's own is in this package. Drivers are called through the DB-API alone:
psycopg2 where a DSN is given, or whatever the user's own function returns.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmaster.postgres.connections import connect
    from taskmaster.postgres.guards import (
        active_connections,
        autovacuum_running,
        checkpoints_forced,
        dead_tuples,
        disk_free,
        locks_waiting,
        long_transactions,
        query,
        replication_lag,
        wal_rate,
    )
    from taskmaster.postgres.probe import pace
    from taskmaster.postgres.ranges import KeyRange, ranges
    from taskmaster.postgres.rows import rows

__all__ = [
    "KeyRange",
    "active_connections",
    "autovacuum_running",
    "checkpoints_forced",
    "connect",
    "dead_tuples",
    "disk_free",
    "locks_waiting",
    "long_transactions",
    "pace",
    "query",
    "ranges",
    "replication_lag",
    "rows",
    "wal_rate",
]

# The module of each public name; a name that is not here is in ``guards``.
_MODULES = {"KeyRange": "ranges", "connect": "connections", "pace": "probe", "ranges": "ranges", "rows": "rows"}


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds a submodule to its name here when it is imported, as pickle imports one:
        # ``postgres.rows`` would be the module instead of the function.
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'guards')}"), name)
    return found
