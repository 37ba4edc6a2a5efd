"""The slaves of a run on an engine: what the session has instead of a slave of this
machine.
"""

from __future__ import annotations

import logging
import os
import secrets
import site
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, TextIO

from taskmaster.django_orm import integration
from taskmaster.django_orm.integration import OTHER_DATABASES, SETTINGS_VARIABLE
from taskmaster.engine.archive import name_there, pack
from taskmaster.engine.contract import Engine
from taskmaster.engine.fleet import Fleet
from taskmaster.engine.reach import reached_from
from taskmaster.engine.slave_task import Archive, SlaveTask
from taskmaster.engine.upkeep import Upkeep
from taskmaster.errors import ConnectError, TargetError, UsageError
from taskmaster.options.commands import RunOptions, SlaveOptions
from taskmaster.options.engine import environment_of
from taskmaster.options.option import from_options
from taskmaster.runner.engine_choice import EngineChoice
from taskmaster.runner.loading import LoadedRun
from taskmaster.runner.local_slave import SlaveKind
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address, parse
from taskmaster.user_code import target as targets
from taskmaster.user_code.code_version import file_of

__all__ = ["EngineSlaves", "EngineSpec", "task_of"]

logger = logging.getLogger(__name__)

CHECK_PAUSE_SECONDS = 0.2  # between two looks whether the fleet has given up
REACH_SECONDS = 10.0  # that a slave has to reach this master for the first time: it is there
ENGINE_SLAVES_WAIT_SECONDS = 3600.0  # that a slave waits for a master that is gone: it may be started again
ENGINE_SLAVES_LATE_SECONDS = 5.0  # further time for slaves to end, after that of their workers


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
            TargetError: No slave could work; it says what they have said.
            ConnectError: None of them can reach the master, or the engine is gone.
        """
        failure = self._upkeep.failure
        if failure and self._upkeep.exit_code == ConnectError.exit_code:
            raise ConnectError(f"No slave on the engine can work for this master: {failure}")
        if failure:
            cure = (
                " What the callback needs there travels with --ship=PATH; modules that are installed here have to be "
                "installed there."
            )
            raise TargetError(
                f"No slave can work on the engine; its workers say: {failure}{'' if '--ship=PATH' in failure else cure}"
            )

    def dismiss(self, hurry: Callable[[], bool]) -> None:
        """See to their end, or each would say that it has lost its master, and wait for it."""
        self.stop(hurry)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> int | None:
        """See to their end; return 1 if workers could not do then what was left to be done."""
        self._upkeep.stop(self._grace + ENGINE_SLAVES_LATE_SECONDS, hurry)
        return int(self._upkeep.unfinished)


class EngineSpec:
    """What a run's slaves on an engine are to be.

    Args:
        options: The command's.
        target: What slaves are started with; None if they cannot be started elsewhere.

    Attributes:
        kind: As of ``LocalSlaveSpec``.

    Raises:
        UsageError: Slaves elsewhere could not import the callback.
    """

    kind: ClassVar[Literal[SlaveKind.ENGINE]] = SlaveKind.ENGINE

    def __init__(self, options: RunOptions, target: str | None) -> None:
        if target is None and (changed := integration.changed_settings()):
            raise UsageError(
                f"Django's settings {changed}, and slaves on an engine import the callback with settings of their own: "
                "start the run with the settings as they are in the module that DJANGO_SETTINGS_MODULE names."
            )
        if target is None:
            raise UsageError(
                "The callback is a local function, a lambda, or one of the script itself, or comes with a setup: "
                "slaves on an engine have to import it. Put it into a module, import it from there, and name that "
                "with ship=[...]; the cell of a notebook writes one with %%writefile jobs.py."
            )
        self._target = target
        self._options = options
        self._name = secrets.token_hex(4)
        self._engine: Engine | None = None

    def provide(self, stack: ExitStack) -> None:
        """Connect to the engine, before there is a key or a state.

        Raises:
            UsageError: The slaves could not reach the master, or the key could be read.
            ConnectError: The engine does not answer.
        """
        options = self._options
        where = parse(options.host) if options.host else Address("127.0.0.1", 0)
        environment_of(options.env)
        self._engine = EngineChoice(options, options.processes or 1, options.advertise).connect(self._name, where)
        stack.callback(close_quietly, self._engine)

    def start(
        self, loaded: LoadedRun, listening: Address, key: str, write: Callable[[str, TextIO], None]
    ) -> EngineSlaves:
        """Begin to keep slaves there.

        Args:
            loaded: What is run.
            listening: The master's address.
            key: The shared key.
            write: Prints a line above the progress, to the stream given.
        """
        engine, options = self._engine, self._options
        if engine is None:
            raise RuntimeError("provide() comes first")
        address = reached_from(engine.scheduler, listening, options.advertise)
        task = task_of(self._name, self._target, address, key, loaded.code, options, ENGINE_SLAVES_WAIT_SECONDS)
        fleet = Fleet(self._name, options.slaves)
        return EngineSlaves(Upkeep(fleet, engine, replace(task, reach=REACH_SECONDS), write), options.grace)


def close_quietly(engine: Engine) -> None:
    """Let go of an engine, which may be away."""
    try:
        engine.close()
    except Exception as exc:
        logger.info("the engine was not left in good order: %r", exc)


def task_of(
    run: str, target: str, address: Address, key: str, code: str, options: RunOptions | SlaveOptions, wait: float
) -> SlaveTask:
    """Return the task of a slave on an engine.

    Args:
        run: Name of the fleet.
        target: What the slave is to run, as this machine names it.
        address: The address at which it reaches the master.
        key: The shared key.
        code: Digest of the callback's file.
        options: The command's.
        wait: Seconds that it waits for the master.
    """
    there, archive = _shipped(target, options.ship)
    config = from_options(
        SlaveConfig,
        options,
        target=there,
        address=address,
        processes=options.processes or 0,
        wait=wait,
        code=code,
        elsewhere=True,
    )
    inherited = tuple((name, os.environ[name]) for name in (SETTINGS_VARIABLE, OTHER_DATABASES) if name in os.environ)
    environment = inherited + environment_of(options.env)
    return SlaveTask(run, Instructions(config, key, options.log_level), archive, environment, wait)


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
    installed = [Path(folder).resolve() for folder in (*site.getsitepackages(), sys.base_prefix, sys.prefix)]
    whole = path.resolve()
    return None if any(whole.is_relative_to(folder) for folder in installed) else path
