"""Guards: numbers that must not become too large, or too small, while a run goes on.

Public: users write ``from taskmaster.guards import Guard, Unknown, cpu_load, disk_free, http``. The
guards of PostgreSQL are in ``taskmaster.postgres.guards``.

- ``guard``: a number with its limit, and how the run waits for it;
- ``hooks``: what ``throttle`` of a module or script may be;
- ``host``: processors and disks of the machine that the master runs on;
- ``pace``: a limit for what a probe may take, and the probe; ``probe_report``: what that says
  without a run;
- ``http``: a service that says whether the run may go on.

Any room may import it; it imports the root alone. Guarantee: making a guard costs nothing, opens
nothing and imports no driver, because each worker imports the module that makes it.
"""

from __future__ import annotations

from taskmaster.guards.guard import Floor, Guard, Unknown
from taskmaster.guards.hooks import hooks_of
from taskmaster.guards.host import cpu_load, disk_free
from taskmaster.guards.http import http
from taskmaster.guards.pace import Pace

__all__ = ["Floor", "Guard", "Pace", "Unknown", "cpu_load", "disk_free", "hooks_of", "http"]
