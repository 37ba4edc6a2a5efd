"""What holds a run back, made of its options and of what its module names."""

from __future__ import annotations

from functools import partial

from taskmaster.guards import Guard
from taskmaster.master.throttle.throttle import Throttle
from taskmaster.options.commands import MasterOptions
from taskmaster.runner.loading import LoadedRun

__all__ = ["throttle_of"]


def throttle_of(options: MasterOptions, loaded: LoadedRun) -> Throttle:
    """Return the throttle of a run; before it is started, only the probe of a pace and the guards
    that look at a database are tried.

    Raises:
        UsageError: One of them cannot look, for a reason that does not pass by itself.
    """
    hooks = [*loaded.hooks, *options.throttle_hooks()]
    for hook in hooks:
        if isinstance(hook, Guard):
            hook.try_out()
    pace = options.paced(loaded.pace)
    if pace is None:
        return Throttle(options.rate, hooks)
    from taskmaster.master.throttle.pacing import Pacing

    try_out = getattr(pace.probe, "try_out", None)
    if try_out is not None:
        try_out()
    like = getattr(pace.probe, "read_like", None)
    if like is not None:
        like(partial(loaded.source.tell, "probed"))
    return Throttle(options.rate, hooks, pacing=Pacing(pace))
