"""What holds a run back, made of its options and of what its module names."""

from __future__ import annotations

from taskmaster.master.throttle.pacing import Pacing
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.options.commands import MasterOptions
from taskmaster.runner.loading import LoadedRun

__all__ = ["throttle_of"]


def throttle_of(options: MasterOptions, loaded: LoadedRun) -> Throttle:
    """Return the throttle of a run; nothing is asked before it is started."""
    pace = options.paced(loaded.pace)
    return Throttle(
        options.rate,
        [*loaded.hooks, *options.throttle_hooks()],
        pacing=None if pace is None else Pacing(pace),
    )
