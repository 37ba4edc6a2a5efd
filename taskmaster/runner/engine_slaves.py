"""The slaves of a run on an engine: what the session has in the place of a slave of this
machine.
"""

from __future__ import annotations

import os
import secrets
import site
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from taskmaster.django_orm.integration import OTHER_DATABASES, SETTINGS
from taskmaster.engine.archive import name_there, pack
from taskmaster.engine.contract import Engine
from taskmaster.engine.dask_cluster import DaskCluster, is_client, scheduler_address
from taskmaster.engine.fleet import Fleet
from taskmaster.engine.reach import check_secrecy, reached_from
from taskmaster.engine.slave_task import Archive, SlaveTask
from taskmaster.engine.upkeep import Upkeep
from taskmaster.errors import TargetError, UsageError
from taskmaster.options.commands import RunOptions, SlaveOptions
from taskmaster.options.engine import EngineOptions, environment_of
from taskmaster.options.option import from_options
from taskmaster.runner.loading import LoadedRun
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address, parse
from taskmaster.user_code import target as targets
from taskmaster.user_code.code_version import file_of

__all__ = ["EngineSlaves", "EngineSpec", "engine_of", "scheduler_of", "task_of"]

CHECK_PAUSE_SECONDS = 0.2  # between two looks whether the fleet has given up
WAIT_SECONDS = 3600.0  # that a slave waits for a master that is gone: it may be started again
LATE_SECONDS = 5.0  # that slaves are waited for beyond the time that their workers have


class EngineSlaves:
    """Slaves on an engine, as ``OwnSlave``.

    Args:
        upkeep: Keeps them.
        grace: Seconds that running jobs have at the end.
    """

    name = ""
    pause = CHECK_PAUSE_SECONDS

    def __init__(self, upkeep: Upkeep, grace: float) -> None:
        self._upkeep = upkeep
        self._grace = grace

    @property
    def engine(self) -> str:
        """How the engine stands, for people."""
        return self._upkeep.show()

    def check(self) -> None:
        """Raise if no slave can work there.

        Raises:
            TargetError: With what the slaves have said.
        """
        if self._upkeep.failure:
            raise TargetError(
                f"No slave can work on the engine; its workers say: {self._upkeep.failure} What the callback needs "
                "there travels with --ship=PATH; modules that are installed here have to be installed there."
            )

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> int | None:
        """See to their end."""
        self._upkeep.stop(self._grace + LATE_SECONDS, hurry)
        return 0


@dataclass
class EngineSpec:
    """What a run's slaves on an engine are to be.

    Attributes:
        options: The command's.
    """

    options: RunOptions

    def provide(self, stack: ExitStack) -> None:
        """Check what can be checked before anything begins.

        Raises:
            UsageError: The slaves could not reach the master, or the key could be read.
        """
        del stack
        address = self.options.host
        where = parse(address) if address else Address("127.0.0.1", 0)
        scheduler = scheduler_of(self.options)
        check_secrecy(scheduler, insecure=self.options.insecure_engine)
        reached_from(scheduler, where, self.options.advertise)
        environment_of(self.options.env)

    def start(
        self, loaded: LoadedRun, listening: Address, key: str, write: Callable[[str, TextIO], None]
    ) -> EngineSlaves:
        """Connect to the engine, and begin to keep slaves there.

        Args:
            loaded: What is run.
            listening: Where the master listens.
            key: The shared key.
            write: Prints a line above the progress, to the stream given.

        Raises:
            UsageError: Slaves elsewhere could not import the callback.
            ConnectError: The engine does not answer.
        """
        if loaded.slave_target is None:
            raise UsageError(
                "The callback is a local function, a lambda, or one of the script itself, or comes with a setup: "
                "slaves on an engine have to import it. Put it into a module, import it from there, and name that "
                "with ship=[...]."
            )
        scheduler, run = scheduler_of(self.options), secrets.token_hex(4)
        address = reached_from(scheduler, listening, self.options.advertise)
        task = task_of(run, loaded.slave_target, address, key, loaded.code, self.options, WAIT_SECONDS)
        engine = engine_of(run, self.options, scheduler)
        return EngineSlaves(Upkeep(Fleet(run, self.options.slaves), engine, task, write), self.options.grace)


def scheduler_of(options: EngineOptions) -> str:
    """Return the address of the engine's scheduler.

    Raises:
        UsageError: There is no such engine, or no address.
    """
    engine = options.engine
    if is_client(engine):
        return str(engine.scheduler.address)
    if engine == "dask":
        return scheduler_address(options.scheduler)
    raise UsageError(f"--engine is a {type(engine).__name__}: give a client of Dask's, or 'dask'.")


def engine_of(run: str, options: EngineOptions, scheduler: str) -> Engine:
    """Return the engine, connected.

    Args:
        run: Name of the fleet.
        options: The command's.
        scheduler: Given by ``scheduler_of``.
    """
    client: Any = options.engine
    return DaskCluster.of(run, client) if is_client(client) else DaskCluster.at(run, scheduler)


def task_of(
    run: str, target: str, address: Address, key: str, code: str, options: RunOptions | SlaveOptions, wait: float
) -> SlaveTask:
    """Return the task of a slave on an engine.

    Args:
        run: Name of the fleet.
        target: What the slave is started with, as it is called here.
        address: Where it reaches the master.
        key: The shared key.
        code: Digest of the callback's file.
        options: The command's.
        wait: Seconds that it waits for the master.
    """
    there, archive = _shipped(target, options.ship)
    config = from_options(
        SlaveConfig, options, target=there, address=address, processes=options.processes or 0, wait=wait, code=code
    )
    inherited = tuple((name, os.environ[name]) for name in (SETTINGS, OTHER_DATABASES) if name in os.environ)
    environment = inherited + environment_of(options.env)
    return SlaveTask(run, Instructions(config, key, options.log_level), archive, environment)


def _shipped(target: str, ship: tuple[str, ...]) -> tuple[str, Archive]:
    """Return how the target is called there, and the files that travel."""
    parsed = targets.parse(target)
    paths = [Path(one) for one in ship]
    if parsed.path is None:
        beside = _beside(parsed.module)
        return target, pack([*paths, *([beside] if beside else [])])
    there = name_there(parsed.path)
    return there + (f":{parsed.function}" if parsed.function else ""), pack([*paths, parsed.path])


def _beside(module: str) -> Path | None:
    """Return the file of a module that is no package and is not installed: one beside the script,
    or in the working directory.
    """
    if "." in module:
        return None
    path = file_of(targets.parse(module))
    if path is None or path.name == "__init__.py":
        return None
    installed = [Path(place).resolve() for place in (*site.getsitepackages(), sys.base_prefix, sys.prefix)]
    whole = path.resolve()
    return None if any(whole.is_relative_to(place) for place in installed) else path
