"""The books of a run: which job is queued, leased, waiting, parked or settled. Pure.

No module here has a thread, a socket, a file, a clock or randomness of its own, so that the
simulation can drive the real broker through thousands of schedules. ``broker`` is the face, always
called under the master's one lock.
"""

from __future__ import annotations

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits

__all__ = ["Broker", "Limits"]
