"""The broker: which job is queued, leased, waiting, parked or settled. Pure.

No module here has a thread, a socket, a file, a clock or randomness of its own, so that the
simulation can drive the real broker through thousands of schedules. ``broker`` is the face, called
under the master's one lock, ``limits`` are its caps; the parts, in the order in which a job meets
them:

- ``intake`` (with ``queue`` and ``write_ahead``): read, and not handed out;
- ``hand_out``, ``batch_limit``, ``batches``: which batch a slave gets, and how large it is;
- ``slaves``, ``leases``, ``recalls``, ``takeover``: what slaves hold, and are asked to give back;
  ``positions``: where in the order of reading that is;
- ``prepared``, ``settlement``: what a report comes to;
- ``failure_policy``, ``verdicts``, ``failure_budget``, ``outage``: what becomes of failed jobs;
- ``redelivery`` (with ``returned``), ``waiting``, ``replay``: what goes out again;
- ``watermark``, ``relief``, ``parking``, ``unwritten``, ``counts``: what a checkpoint says.
"""

from __future__ import annotations

from taskmaster.master.broker.broker import Broker
from taskmaster.master.broker.limits import Limits

__all__ = ["Broker", "Limits"]
