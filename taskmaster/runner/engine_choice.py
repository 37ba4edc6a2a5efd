"""Which engine a command, or a script, means; connected, once it is safe to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskmaster.engine.contract import Engine
from taskmaster.engine.dask_cluster import DaskCluster, address_of, is_client, scheduler_address
from taskmaster.engine.executor import ExecutorEngine
from taskmaster.engine.ray_cluster import RayCluster, is_ray
from taskmaster.engine.reach import check_secrecy, reached_from
from taskmaster.errors import TargetError, UsageError
from taskmaster.options.engine import EngineOptions
from taskmaster.records import record
from taskmaster.runtime.log import clean_logger
from taskmaster.transport.address import Address, is_loopback
from taskmaster.user_code import target as targets

__all__ = ["EngineChoice", "factory_of"]

logger = clean_logger(__name__)


@record(slots=False)
class EngineChoice:
    """An engine that somebody has named, or handed over.

    Attributes:
        options: The command's.
        processes: Worker processes of each slave, where the engine has to know before it starts it.
        advertise: As ``--advertise``; None where there is no such option.
    """

    options: EngineOptions
    processes: int
    advertise: str | None = None

    def connect(self, run: str, listening: Address) -> Engine:
        """Return the engine, connected.

        Args:
            run: Name of the fleet.
            listening: Where the master listens, or will; its port does not matter.

        Raises:
            UsageError: There is no such engine, it cannot run slaves, these could not reach the
                master, or the key could be read.
            ConnectError: It does not answer.
        """
        engine = self.options.engine
        if is_client(engine):
            self._check(address_of(engine), listening)
            return DaskCluster.of(run, engine)
        if engine == "dask":
            scheduler = scheduler_address(self.options.scheduler)
            self._check(scheduler, listening)
            return DaskCluster.at(run, scheduler)
        if is_ray(engine):
            ray = RayCluster(
                run,
                self.options.scheduler or "auto",
                self.processes,
                reachable=bool(self.advertise) or not is_loopback(listening.host),
                insecure=self.options.insecure_engine,
            )
            try:
                self._check(ray.scheduler, listening)
            except UsageError:
                ray.close()
                raise
            self._say_that_it_stays(ray)
            return ray
        self._refuse_scheduler()
        name = f"--engine={engine}" if isinstance(engine, str) else "engine="
        make, own = _maker(engine)
        return ExecutorEngine(run, name, make, own=own, slaves=self.options.slaves)

    def _check(self, scheduler: str, listening: Address) -> None:
        """Check that slaves can reach the master, and that nobody can read the key on its way."""
        if scheduler:
            check_secrecy(scheduler, insecure=self.options.insecure_engine)
        reached_from(scheduler, listening, self.advertise)

    def _say_that_it_stays(self, ray: RayCluster) -> None:
        """Warn that slaves stay on this machine, where more are wanted than it has CPUs for."""
        room, wanted = ray.poll().workers, self.options.slaves or 0
        if ray.stays and wanted > room:
            logger.warning(
                "%d slaves are wanted, and this machine, the only one that Ray has yet, has CPUs for %d: on others the "
                "master could not be reached, or the key would travel in clear. For machines that Ray adds, give "
                "--host=0.0.0.0:5050, --key-file, and Ray's TLS or --insecure-engine.",
                wanted,
                room,
            )

    def _refuse_scheduler(self) -> None:
        if self.options.scheduler:
            raise UsageError(
                f"--scheduler={self.options.scheduler} is the address of an engine's scheduler, which the function of "
                "an executor has itself: leave --scheduler out."
            )


def factory_of(option: str, value: str) -> Callable[[], Any]:
    """Return the function that an option names.

    Args:
        option: The option.
        value: MODULE:FACTORY, as it was given.

    Raises:
        UsageError: There is no such function, or its module cannot be imported.
    """
    try:
        target = targets.parse(value)
        module = targets.load(target)
        found = getattr(module, target.function or "", None)
        if not isinstance(found, type) and callable(getattr(found, "submit", None)):
            raise UsageError(
                f"{option}={value} names a {type(found).__name__}, which is there already: name a function that "
                f"returns one, `def {target.function}(): return ...`; where one breaks, it is asked for another."
            )
        return targets.find(module, target, [])
    except TargetError as exc:
        raise UsageError(
            f"{option}={value} names no function that makes an Executor: {exc}", user_traceback=exc.user_traceback
        ) from None


def _maker(engine: Any) -> tuple[Callable[[], Any], bool]:
    """Return what gives the executor, and whether it makes a new one.

    Raises:
        UsageError: It is neither a factory nor an executor.
    """
    if isinstance(engine, str):
        return factory_of("--engine", engine), True
    if hasattr(engine, "submit") and not isinstance(engine, type):
        return lambda: engine, False
    return engine, True
