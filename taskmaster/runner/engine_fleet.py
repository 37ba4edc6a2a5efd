"""``tm-slave --engine``: slaves on an engine for a master that runs elsewhere.

It may end and be started again: what its slaves hold is given back, or handed out again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack

from taskmaster.engine.fleet import Fleet
from taskmaster.engine.reach import reached_from
from taskmaster.engine.upkeep import Upkeep
from taskmaster.errors import ConnectError
from taskmaster.options.commands import SlaveOptions
from taskmaster.runner.engine_choice import EngineChoice
from taskmaster.runner.engine_slaves import EngineSlaves, close_quietly, task_of
from taskmaster.runtime.command_log import CommandLog
from taskmaster.runtime.signals import Signals
from taskmaster.transport.address import Address

__all__ = ["run_fleet"]

FLEET_CHECK_SECONDS = 0.2  # between two looks at the fleet
FLEET_FAREWELL_SECONDS = 5.0  # that slaves have to hear of the run's end, when one of them has


def run_fleet(  # what a slave needs, each once
    target: str, options: SlaveOptions, address: Address, code: str, key: Callable[[], str | None], log: CommandLog
) -> int:
    """Keep slaves on an engine until the run is over, or a signal comes; return the exit code.

    Args:
        target: The target of the callback.
        options: The command's.
        address: Where the master is, also for the engine's workers.
        code: Digest of the callback's file.
        key: Gives the shared key, None while there is none.
        log: Shows the messages about the slaves.

    Raises:
        TaskmasterError: The engine cannot be used, or no slave can work there.
    """
    run = secrets.token_hex(4)
    with ExitStack() as stack:
        # First: a pool starts its workers now, and they are not to have this command's signals.
        engine = EngineChoice(options, options.processes or 1).connect(run, address)
        stack.callback(close_quietly, engine)
        reached_from(engine.scheduler, address, None)
        signals = stack.enter_context(Signals())
        text = _awaited(key, options.wait, address, signals)
        if text is None:
            return 128 + signals.received
        task = task_of(run, target, address, text, code, options, options.wait)
        upkeep = Upkeep(Fleet(run, options.slaves), engine, task, lambda text, _stream: log.show(text))
        slaves = EngineSlaves(upkeep, options.grace)
        many = f"{options.slaves} slaves" if options.slaves else "a slave for each worker of the engine"
        where = f" at {engine.scheduler}" if engine.scheduler else ""
        log.say(f"tm-slave: {many}{where} will work for the master at {address}.")
        try:
            _keep_up(upkeep, slaves, signals)
            if signals.received:
                log.say(
                    f"tm-slave: {signals.name}: slaves on the engine have {options.grace:g} s to end what runs (the "
                    "same signal again ends at once)."
                )
        finally:
            slaves.stop(lambda: signals.repeated)
        return _ended(upkeep, signals, log)


def _keep_up(upkeep: Upkeep, slaves: EngineSlaves, signals: Signals) -> None:
    """Wait until all slaves have ended, or for a signal."""
    while not upkeep.over and not signals.received:
        slaves.check()
        time.sleep(FLEET_CHECK_SECONDS)
    # The others hear it, too. But one that begins now would wait for the master.
    deadline = time.monotonic() + FLEET_FAREWELL_SECONDS
    while upkeep.left and not signals.received and time.monotonic() < deadline:
        time.sleep(FLEET_CHECK_SECONDS)


def _ended(upkeep: Upkeep, signals: Signals, log: CommandLog) -> int:
    """Say how the fleet has ended; return the exit code."""
    if signals.received:
        log.say("tm-slave: stopped; the same command starts slaves again.")
        return 1 if upkeep.unfinished else 128 + signals.received
    log.say(f"tm-slave: {'the run is over' if upkeep.heard_end else 'all its slaves have ended as they were told'}.")
    return int(upkeep.unfinished)


def _awaited(key: Callable[[], str | None], seconds: float, address: Address, signals: Signals) -> str | None:
    """Return the key once there is one; None if a signal comes first."""
    deadline = time.monotonic() + seconds
    while not signals.received:
        text = key()
        if text is not None:
            return text
        if time.monotonic() >= deadline:
            raise ConnectError(f"No master has left a key for {address} on this machine: give it with --key-file.")
        time.sleep(FLEET_CHECK_SECONDS)
    return None
