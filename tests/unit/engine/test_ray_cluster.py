"""What becomes of Ray's answers, with a double of Ray: the real one is tried by
``tests/process/test_engine_contract.py``, where it can be installed.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from taskmaster.engine import ray_cluster
from taskmaster.engine.contract import EngineGone
from taskmaster.engine.ended import Ended
from taskmaster.engine.ray_cluster import RayCluster, ending, is_ray
from taskmaster.engine.slave_task import Archive, SlaveTask
from taskmaster.errors import ConnectError, UsageError
from taskmaster.slave.config import Instructions, SlaveConfig
from taskmaster.transport.address import Address

TASK = SlaveTask(
    "r",
    Instructions(SlaveConfig("jobs.py", Address("127.0.0.1", 5050), 0), "key", "warning"),
    Archive("d", b""),
)


class Promise(list):
    """What a task will say; nothing yet if it is empty."""

    def __next__(self) -> Any:
        return self.pop(0)

    __hash__ = object.__hash__  # type: ignore[assignment]


class TaskCancelledError(Exception):
    """As Ray's."""


class Double(ModuleType):
    """One node with four CPUs, at first."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.initialized = False
        self.answers = threading.Event()
        self.answers.set()
        self.machines = ["10.0.0.1"]
        self.tasks: list[Promise] = []
        self.options: dict[str, Any] = {}
        self.told: list[Any] = []
        self.cancelled: list[Any] = []
        self.util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")

    def init(self, address: str, **_: Any) -> None:
        assert threading.current_thread() is not threading.main_thread(), "Ray would take SIGTERM for itself"
        self.answers.wait()
        if address == "nowhere:1":
            raise ConnectionError("no such head")
        self.initialized = True

    def check_answers(self, address: str, seconds: float) -> None:
        if address == "closed:1":
            raise ConnectionRefusedError("Connection refused")

    def is_initialized(self) -> bool:
        return self.initialized

    def shutdown(self) -> None:
        self.initialized = False

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeManagerAddress": one, "Alive": True, "Resources": {"CPU": 4.0}} for one in self.machines]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="10.0.0.1:6379")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0 * len(self.machines)}

    def remote(self, function: Any) -> Any:
        return SimpleNamespace(options=self.with_options)

    def with_options(self, **options: Any) -> Any:
        self.options = options
        return SimpleNamespace(remote=self.submitted)

    def submitted(self, task: Any) -> Promise:
        self.told.append(task)
        self.tasks.append(Promise())
        return self.tasks[-1]

    def wait(self, tasks: list[Promise], num_returns: int, timeout: float) -> tuple[list, list]:
        assert num_returns == len(tasks)
        return [one for one in tasks if len(one)], []

    def get(self, found: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self, task: Promise, force: bool = False) -> None:
        self.cancelled.append((task, force))


@pytest.fixture
def ray(monkeypatch) -> Double:
    """The double, in the place of Ray."""
    found = Double()
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setattr(ray_cluster, "check_answers", found.check_answers)
    return found


def test_slaves_wait_begin_and_end(ray):
    """A task is of as many CPUs as its slave has workers, and is never tried again by Ray."""
    cluster = RayCluster("r", "auto", 2)
    for name in ("one", "two", "three"):
        cluster.submit(name, TASK.named(name))
    assert ray.options["num_cpus"] == 2
    assert ray.options["max_retries"] == 0
    assert ray.told[0].instructions.config.processes == 2
    view = cluster.poll()
    assert (view.workers, view.running, view.withdrawable) == (2, 0, {"one", "two", "three"})

    ray.tasks[0].append("begun")
    ray.tasks[1].append("begun")
    view = cluster.poll()
    assert (view.running, view.withdrawable) == (2, {"three"})

    ray.tasks[0].append(Ended(0, "w1"))
    ray.tasks[1].append(OSError("the node has died"))
    assert cluster.poll().ended == {"one": Ended(0, "w1"), "two": Ended(None, "", "OSError: the node has died")}
    assert cluster.poll().running == 0


def test_a_cluster_that_this_process_has_left_is_gone(ray):
    """Ray would start another one as soon as it is asked something, and never have those tasks."""
    cluster = RayCluster("r", "auto", 2)
    cluster.submit("one", TASK.named("one"))
    ray.initialized = False

    with pytest.raises(EngineGone, match=r"ray\.shutdown\(\) was called in this process"):
        cluster.poll()
    assert list(cluster.drain()) == []
    cluster.close()
    assert ray.cancelled == []


def test_draining_interrupts_what_runs_and_withdraws_what_waits(ray):
    """What is left at the end goes with its worker, and Ray is left."""
    cluster = RayCluster("r", "auto", 1)
    for name in ("one", "two"):
        cluster.submit(name, TASK.named(name))
    ray.tasks[0].append("begun")

    assert list(cluster.drain()) == ["one"]
    assert ray.cancelled == [(ray.tasks[0], False), (ray.tasks[1], False)]
    cluster.close()
    assert ray.cancelled[2:] == [(ray.tasks[0], True)]
    assert not ray.initialized


def test_how_a_slave_ended_just_before_draining_is_told(ray):
    """At the end of a run all of them do, and it is how the run has ended."""
    cluster = RayCluster("r", "auto", 1)
    cluster.submit("one", TASK.named("one"))
    ray.tasks[0].append("begun")
    cluster.poll()
    ray.tasks[0].append(Ended(1, "w1"))

    assert list(cluster.drain()) == ["one"]
    assert ray.cancelled == []
    assert cluster.poll().ended == {"one": Ended(1, "w1")}
    assert cluster.poll().ended == {}


def test_a_head_that_does_not_answer_is_not_waited_for_as_long_as_ray_would(ray, monkeypatch):
    """Which is minutes: the command ends with what cures it."""
    monkeypatch.setattr(ray_cluster, "RAY_CONNECT_SECONDS", 0.01)
    ray.answers.clear()
    try:
        with pytest.raises(
            ConnectError, match=r"Ray at 10.0.0.9:6379 does not answer: it .* has said nothing.*ray start --head"
        ):
            RayCluster("r", "10.0.0.9:6379", 1)
    finally:
        ray.answers.set()


def test_a_head_that_takes_no_connection_is_not_asked(ray):
    """Ray would go on trying, and hear no Ctrl-C meanwhile."""
    with pytest.raises(ConnectError, match="closed:1 does not answer: Connection refused"):
        RayCluster("r", "closed:1", 1)

    assert not ray.initialized


def test_a_connection_that_a_script_has_is_left_to_it(ray):
    """It is used, and stays."""
    ray.initialized = True
    RayCluster("r", "nowhere:1", 1).close()

    assert ray.initialized


@pytest.mark.parametrize(
    ("machines", "tls", "address"),
    [
        (["10.0.0.1"], "", ""),
        (["10.0.0.1", "10.0.0.2"], "", "ray://10.0.0.1:6379"),
        (["10.0.0.1", "10.0.0.2"], "1", "tls://10.0.0.1:6379"),
    ],
)
def test_it_says_whether_there_are_other_machines(ray, monkeypatch, machines, tls, address):
    """And whether the key is safe on its way there."""
    monkeypatch.setenv("RAY_USE_TLS", tls)
    ray.machines = machines

    assert RayCluster("r", "auto", 1).scheduler == address


@pytest.mark.parametrize(
    ("reachable", "insecure", "tls", "stays"),
    [
        (False, True, "1", True),
        (True, False, "", True),
        (True, True, "", False),
        (True, False, "1", False),
    ],
)
def test_slaves_stay_on_the_only_machine_unless_others_may_have_them(ray, monkeypatch, reachable, insecure, tls, stays):
    """Ray may add machines later, which cannot reach the master, or would be sent the key in clear:
    tasks that stay are bound to this one, and the others do not count.
    """
    monkeypatch.setenv("RAY_USE_TLS", tls)
    cluster = RayCluster("r", "auto", 1, reachable=reachable, insecure=insecure)
    cluster.submit("one", TASK.named("one"))
    ray.machines.append("10.0.0.2")

    assert cluster.stays is stays
    assert bool(cluster.scheduler) is not stays
    assert ray.options["resources"] == ({"node:10.0.0.1": 0.001} if stays else {})
    assert cluster.poll().workers == (4 if stays else 8)


def test_what_cannot_be_reached_is_refused(ray, monkeypatch):
    """An address where no head is, a client server, and a machine without Ray."""
    with pytest.raises(ConnectError, match="no such head"):
        RayCluster("r", "nowhere:1", 1)
    with pytest.raises(UsageError, match="ray job submit"):
        RayCluster("r", "ray://10.0.0.1:10001", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="pip install"):
        RayCluster("r", "auto", 1)


def test_endings_are_told_from_each_other():
    """One that was cancelled has ended because it was to; one without Taskmaster cannot work."""
    lost = TaskCancelledError("x")
    wrapped = RuntimeError("ray::slave_task()\n  at line 1\nWorkerCrashedError")
    missing = RuntimeError("no")
    missing.cause = ModuleNotFoundError("No module named 'taskmaster'")  # type: ignore[attr-defined]

    assert ending(lost).by_will
    assert ending(wrapped) == Ended(None, "", "RuntimeError: WorkerCrashedError")
    assert ending(missing).unusable
    assert not ending(wrapped).cannot_work


def test_it_is_named_or_handed_over(ray):
    """By its name, or as the module."""
    assert is_ray("ray")
    assert is_ray(ray)
    assert not is_ray("dask")
    assert not is_ray(sys)
