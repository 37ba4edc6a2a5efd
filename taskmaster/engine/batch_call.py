"""What an executor's worker is given, where it runs single batches, and what it gives back.

An executor logs the arguments of calls that fail: a call's text tells neither jobs nor environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from taskmaster.engine.slave_task import Archive
from taskmaster.model import WireBatch
from taskmaster.slave.ipc.messages import AboutRun
from taskmaster.slave.ipc.worker_spec import WorkerSpec
from taskmaster.units import show_count

__all__ = ["BatchCall", "BatchDone", "HostEnd", "HostSpec"]


@dataclass(frozen=True, repr=False)
class HostSpec:
    """What a host process in a worker is told at its start. Calls with equal values share one host.

    Attributes:
        slave: Name of the slave, which no other slave has.
        worker: What the worker process needs to know.
        archive: Files that the callback needs; they are its working directory.
        environment: Variables that it has beside those of the executor's worker.
        told_in: The file in which it says how it has ended, if that is there.
    """

    slave: str
    worker: WorkerSpec
    archive: Archive
    environment: tuple[tuple[str, str], ...]
    told_in: str = ""


@dataclass(frozen=True, repr=False)
class BatchCall:
    """A batch that is to be run.

    Attributes:
        host: The host process to run it in.
        about: The run that it belongs to.
        lent: The batch, with its jobs.
    """

    host: HostSpec
    about: AboutRun
    lent: WireBatch

    def __repr__(self) -> str:
        return f"<{show_count(self.lent.count, 'job')} of {self.host.worker.target}>"


class HostEnd(NamedTuple):
    """How a host has ended.

    Attributes:
        host: Its id.
        worker: Which worker of the executor it was in, "host:pid".
        problems: A sentence for each thing that its workers could not do.
    """

    host: str
    worker: str
    problems: list[str]


@dataclass(frozen=True)
class BatchDone:
    """What became of a call.

    Attributes:
        report: The report of the batch, as it is on the wire; () if it could not be run.
        unusable: Why its callback cannot be used there; "" if it can.
        cause: What is at fault then, as the text of a ``Cause``.
        traceback: The user's.
        host: The id of the host that has run it.
        worker: Which worker of the executor that is in, "host:pid".
        ended: Hosts of the slave that have ended there.
    """

    report: tuple[object, ...] = ()
    unusable: str = ""
    cause: str = ""
    traceback: str = ""
    host: str = ""
    worker: str = ""
    ended: tuple[HostEnd, ...] = ()
