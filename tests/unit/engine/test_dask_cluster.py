"""What Dask is asked, and what becomes of its answers, with a double of its client: the real one is
tried by ``tests/process/test_engine_dask.py``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskmaster.engine import child
from taskmaster.engine.contract import EngineGone
from taskmaster.engine.dask_cluster import DaskCluster, address_of
from taskmaster.engine.ended import Ended
from taskmaster.errors import UsageError


class Future:
    """Of a task that ends when the test says so."""

    def __init__(self) -> None:
        self.status = "pending"
        self.cancelled = False

    def result(self, timeout: float) -> Ended:
        return Ended(0, "w1")

    def cancel(self) -> None:
        self.cancelled = True

    def release(self) -> None:
        """Nothing is kept here."""


class Client:
    """Two workers of one thread, and a count of the questions."""

    status = "running"
    scheduler = SimpleNamespace(address="tcp://127.0.0.1:8786")

    def __init__(self) -> None:
        self.asked = 0
        self.threads = {"a": 1, "b": 1}
        self.there: dict[str, list[str]] = {}
        self.futures: dict[str, Future] = {}
        self.running: dict[str, list[str]] = {"a": [], "b": []}  # as the workers say
        self.takes = 0.0
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def nthreads(self) -> dict[str, int]:
        return self.threads

    def processing(self) -> dict[str, list[str]]:
        self.asked += 1
        self.now += self.takes
        return self.there

    def run(self, function: Any, run: str, *, workers: list[str], on_error: str) -> dict[str, list[str]]:
        assert (function, run, on_error) == (child.running, "r", "ignore")
        return {worker: self.running[worker] for worker in workers if worker in self.running}

    def submit(self, function: Any, task: Any, *, key: str, pure: bool, retries: int) -> Future:
        assert (pure, retries) == (False, 0)
        return self.futures.setdefault(key, Future())


@pytest.fixture
def client() -> Client:
    """The double."""
    return Client()


def cluster_with(client: Client, *names: str) -> DaskCluster:
    """A cluster that has been given some tasks."""
    found = DaskCluster("r", lambda: client, own=False, clock=client.clock)
    for name in names:
        found.submit(name, None)  # type: ignore[arg-type]
    return found


def asked(client: Client, cluster: DaskCluster, seconds: float) -> int:
    """How often the scheduler is asked, when it is looked at four times a second."""
    before, end = client.asked, client.now + seconds
    while client.now < end:
        cluster.poll()
        client.now += 0.25
    return client.asked - before


def test_the_scheduler_is_asked_rarely_once_all_slaves_run(client):
    """It answers with the tasks of all users; the less often, the longer that takes."""
    cluster = cluster_with(client, "one", "two")
    assert 10 <= asked(client, cluster, 10.0) <= 21, "while slaves are to begin, somebody waits for them"

    client.there = {"a": ["one", "theirs-1"], "b": ["two"]}
    assert asked(client, cluster, 60.0) <= 22
    client.takes = 2.0
    assert asked(client, cluster, 600.0) <= 8


def test_where_a_new_slave_runs_is_asked_at_once(client):
    """However long the last answer took: else the status would say for seconds that none runs."""
    client.takes = 2.0
    cluster = cluster_with(client)
    assert cluster.poll().running == 0
    cluster.submit("one", None)
    client.there = {"a": ["one"]}

    assert cluster.poll().running == 1


def test_a_slave_that_has_ended_is_told_at_once(client):
    """That is known here, and nobody is asked."""
    cluster = cluster_with(client, "one", "two")
    client.there = {"a": ["one"], "b": ["two"]}
    view = cluster.poll()
    assert (view.workers, view.running, view.withdrawable) == (2, 2, frozenset())

    client.futures["one"].status = "finished"
    before = client.asked
    assert cluster.poll().ended == {"one": Ended(0, "w1")}
    assert client.asked == before


def test_only_what_certainly_runs_nowhere_may_be_withdrawn(client):
    """As of an answer of this moment; an older one may be wrong by now."""
    cluster = cluster_with(client, "one", "two", "three")
    client.there = {"a": ["one"], "b": ["two"]}

    assert cluster.poll().withdrawable == {"three"}
    assert cluster.poll().withdrawable == frozenset()


@pytest.mark.parametrize("first", ["one", "theirs-1"])
def test_a_slave_that_waits_behind_another_one_is_submitted_anew_when_a_worker_is_free(client, first):
    """It came when there was no other worker, and Dask would leave it there as long as the first
    one runs, which may be another run's. What runs is left alone, and so is what waits where no
    worker is free, or on a worker that says nothing.
    """
    cluster = cluster_with(client, "one", "two")
    client.there = {"a": ["two", first], "b": ["theirs-2"], "unknown": []}
    client.running["a"] = ["one"]
    asked(client, cluster, 5.0)
    assert not client.futures["two"].cancelled

    client.there["b"] = []
    ended: dict[str, Ended] = {}
    for _ in range(20):
        ended.update(cluster.poll().ended)
        client.now += 0.25
    assert client.futures["two"].cancelled
    assert not client.futures["one"].cancelled
    assert list(ended) == ["two"]
    assert ended["two"].by_will


@pytest.mark.parametrize("says", [{"a": ["one", "two"]}, {}])
def test_a_slave_that_runs_is_not_taken_for_one_that_waits(client, says):
    """However many tasks of others its worker has; nor one of whose worker nobody knows."""
    cluster = cluster_with(client, "one", "two")
    client.there = {"a": ["one", "theirs-1", "two"], "b": []}
    client.running = says
    asked(client, cluster, 10.0)

    assert not any(future.cancelled for future in client.futures.values())


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (SimpleNamespace(status="closed", scheduler=None, asynchronous=False), "that is closed: give one"),
        (SimpleNamespace(status="connecting", scheduler=Client.scheduler, asynchronous=False), "that is connecting"),
        (SimpleNamespace(status="running", scheduler=Client.scheduler, asynchronous=True), "asynchronous=True"),
    ],
)
def test_a_client_that_cannot_be_asked_is_refused(client, said):
    """One that is closed, has lost its scheduler, or is to be awaited."""
    with pytest.raises(UsageError, match=said):
        address_of(client)


def test_the_address_of_a_client_is_that_of_its_scheduler():
    """As --scheduler would name it."""
    client = SimpleNamespace(status="running", scheduler=Client.scheduler, asynchronous=False)

    assert address_of(client) == "tcp://127.0.0.1:8786"


def test_a_client_that_somebody_else_has_closed_does_not_come_back(client):
    """It would be waited for, for ever; it has let go of its futures itself."""
    cluster = cluster_with(client, "one")
    client.status = "closed"

    with pytest.raises(EngineGone, match="is closed, and only who made it"):
        cluster.poll()
    cluster.close()
    client.status = "connecting"
    with pytest.raises(ConnectionError, match="is connecting"):
        cluster.poll()
