"""The options about an engine: the cluster that runs the slaves of a run."""

from __future__ import annotations

import os
from typing import Any

from taskmaster.errors import UsageError
from taskmaster.options.option import Section, count, flag, spelling, text, texts
from taskmaster.records import record

__all__ = ["EngineOptions", "ExecutorOptions", "environment_of"]

ENGINE_OPTIONS = ("scheduler", "slaves", "ship", "env", "insecure_engine", "advertise")


KNOWN = ("dask", "ray")
FORMS = "give 'dask', 'ray', or MODULE:FACTORY, which names a function that makes an Executor"


def _check_engine(option: str, value: Any) -> None:
    if isinstance(value, str):
        if value not in KNOWN and ":" not in value:
            raise UsageError(f"{option} is {value!r}: {FORMS}.")
    elif not (callable(value) or callable(getattr(value, "submit", None)) or getattr(value, "__name__", "") == "ray"):
        raise UsageError(
            f"{option} is a {type(value).__name__}: {FORMS}; in a script, also a client of Dask's, the module ray, an "
            "Executor, or that function itself."
        )


def _check_executor(option: str, value: Any) -> None:
    """Check that a text names a function of a module."""
    if not isinstance(value, str) or ":" not in value:
        raise UsageError(f"{option} is {value!r}: give MODULE:FACTORY, which names a function that makes an Executor.")


def _check_env(option: str, value: Any) -> None:
    if not isinstance(value, tuple | list):
        raise UsageError(f"{option} is {value!r}: give a list of texts.")
    environment_of(tuple(value), option)


def _check_paths(option: str, value: Any) -> None:
    if not isinstance(value, tuple | list) or not all(isinstance(one, str | os.PathLike) for one in value):
        raise UsageError(f"{option} is {value!r}: give a list of paths.")


def environment_of(given: tuple[str, ...], option: str = "--env") -> tuple[tuple[str, str], ...]:
    """Return the variables that ``--env`` names, with their values.

    Raises:
        UsageError: One is not written so, or is not set here.
    """
    found = {}
    for word in given:
        name, equals, value = str(word).partition("=")
        if not name or "\0" in word:
            raise UsageError(f"{option} is {word!r}: give NAME, which is set here, or NAME=VALUE.")
        if not equals and name not in os.environ:
            raise UsageError(f"{option}={name}: there is no such variable here: set it, or give {option}={name}=VALUE.")
        found[name] = value if equals else os.environ[name]
    return tuple(found.items())


@record(slots=False)
class EngineOptions:
    """What runs the slaves, if this machine does not."""

    engine: Any = text(  # a text, or what a script hands over
        Section.ENGINE,
        None,
        "NAME",
        "Run the slaves on an existing cluster: dask, ray, or MODULE:FACTORY, a function that returns a "
        "concurrent.futures.Executor. The master runs here.",
        check=_check_engine,
        unset="jobs run on this machine",
    )
    scheduler: str | None = text(
        Section.ENGINE, None, "ADDRESS", "Scheduler of the engine, like tls://10.0.0.1:8786; or Dask's scheduler file."
    )
    slaves: int | None = count(
        Section.ENGINE,
        None,
        "Slaves to keep on the engine.",
        least=1,
        unset="one for each worker that the engine has",
    )
    ship: tuple[str, ...] = texts(
        Section.ENGINE,
        "PATH",
        "File or directory that the callback needs on the engine's workers, beside the file of TARGET.",
        check=_check_paths,
    )
    env: tuple[str, ...] = texts(
        Section.ENGINE,
        "NAME[=VALUE]",
        "Variable in the environment of slaves on the engine; without a value, that of this command.",
        check=_check_env,
    )
    insecure_engine: bool = flag(
        Section.ENGINE, "Send the key to a scheduler on another machine without TLS, where others can read it."
    )

    @property
    def meant_otherwise(self) -> tuple[str, ...]:
        """Options that mean something without an engine."""
        return ()

    def check_engine(self) -> None:
        """Check that options about an engine are given with one.

        Raises:
            UsageError: Such an option is given, and no engine.
        """
        if self.engine is not None:
            return
        for name in ENGINE_OPTIONS:
            if name not in self.meant_otherwise and getattr(self, name, None):
                raise UsageError(f"{spelling(name)} is about an engine, and none is given: add --engine dask.")


@record(slots=False)
class ExecutorOptions(EngineOptions):
    """What runs the batches of a slave, where its workers cannot reach the master."""

    executor: str | None = text(
        Section.ENGINE,
        None,
        "MODULE:FACTORY",
        "Run each batch as a call to the concurrent.futures.Executor that this function returns. For workers that "
        "cannot reach the master; this command has to reach it.",
        check=_check_executor,
    )
    in_flight: int | None = count(
        Section.ENGINE,
        None,
        "Batches that the executor has at once.",
        least=1,
        unset="twice as many as it has workers",
    )

    @property
    def meant_otherwise(self) -> tuple[str, ...]:
        """Options that mean something without an engine."""
        return ("ship", "env") if self.executor is not None else ()

    def check_executor(self, processes: int | None, jobs: int | None, memory: int | None) -> None:
        """Check that options about an executor are given with one, and that those about worker
        processes of this machine are not.

        Args:
            processes: As ``--processes``.
            jobs: As ``--jobs-per-worker``.
            memory: As ``--memory-per-worker``.

        Raises:
            UsageError: They do not go together.
        """
        if self.executor is None:
            if self.in_flight is not None:
                raise UsageError("--in-flight is about an executor, and none is given: add --executor MODULE:FACTORY.")
            return
        others = {
            "--engine": self.engine,
            "--processes": processes,
            "--jobs-per-worker": jobs,
            "--memory-per-worker": memory,
        }
        for name, value in others.items():
            if value is not None:
                raise UsageError(
                    f"--executor and {name} are both given: with an executor, its workers run the batches, one at a "
                    "time each. Leave one out."
                )
