"""Executors as engines: which are refused, and what a pool of threads tells of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from support.commands import wait_for

import taskmaster
from taskmaster.engine import executor
from taskmaster.engine.contract import EngineGone
from taskmaster.engine.ended import Ended
from taskmaster.engine.executor import ExecutorEngine
from taskmaster.errors import UsageError


class Fixed:
    """Answers at once."""

    _max_workers: Any = 2

    def __init__(self, answer: Any = taskmaster.__version__) -> None:
        self.answer = answer

    def submit(self, function: Any, *arguments: Any) -> Any:
        future: Future = Future()
        if isinstance(self.answer, BaseException):
            future.set_exception(self.answer)
        else:
            future.set_result(self.answer)
        return future

    def shutdown(self, wait: bool = True) -> None:
        """There is nothing to end."""


class Late(Fixed):
    _max_workers = None


class Odd(Fixed):
    def submit(self, function: Any, *arguments: Any) -> Any:
        return type("Promise", (), {"done": lambda _: True})()


@pytest.fixture(autouse=True)
def own_files(tmp_path, monkeypatch) -> Iterator[None]:
    """Keep what fleets write in the test's directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.glob("taskmaster-engine-*/fleet-*")), "a fleet's file was left behind"


class Full(Fixed):
    """An executor that takes no calls."""

    def submit(self, *_: Any) -> Any:
        raise self.answer


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: 5, "an object of type int, which is no Executor"),
        (lambda: Fixed, "the class Fixed, which is no Executor"),
        (Late, "does not tell how many workers it has: say with --slaves"),
        (Odd, r"a Promise, which has no running\(\)"),
        (lambda: Fixed(RuntimeError("no processes here")), "RuntimeError: no processes here"),
        (lambda: Fixed(BrokenExecutor("its initializer raised")), "its initializer raised. Its workers end as soon"),
        (lambda: Full(RuntimeError("the queue is full")), "RuntimeError: the queue is full"),
        (lambda: Full(BrokenExecutor("gone.")), r"gone\. Its workers end as soon as they begin"),
        (lambda: Fixed("0.1"), "have Taskmaster 0.1, and this is"),
        (lambda: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_cannot_run_slaves_is_refused_with_the_reason(make, said):
    """What is no executor, has other futures, or has workers that cannot start processes."""
    with pytest.raises(UsageError, match=said):
        ExecutorEngine("r", "--engine=pools.py:make", make, own=True, slaves=None)


def test_one_that_does_not_tell_its_size_runs_as_many_slaves_as_are_asked_for():
    """With --slaves."""
    engine = ExecutorEngine("r", "--engine=pools.py:make", Late, own=True, slaves=3)

    assert engine.poll().workers == 3
    engine.close()


def test_calls_run_wait_and_end(monkeypatch):
    """What waits can be withdrawn; a call that raised has ended for no known reason."""
    import threading

    go = threading.Event()

    def call(task: Any, origin: Any) -> Ended:
        go.wait(30.0)
        if task.name == "two":
            raise ModuleNotFoundError("taskmaster.engine.executor")
        return Ended(0, "w1")

    class Task:
        def __init__(self, name: str) -> None:
            self.name = name

    monkeypatch.setattr(executor, "slave_task", call)
    engine = ExecutorEngine("r", "engine=", lambda: ThreadPoolExecutor(2), own=True, slaves=None)
    for name in ("one", "two", "three", "four"):
        engine.submit(name, Task(name))  # type: ignore[arg-type]
    wait_for("two to run", lambda: engine.poll().running == 2)
    assert engine.poll().withdrawable == {"three", "four"}
    engine.withdraw("four")
    assert sorted(engine.drain()) == ["one", "two"]
    go.set()
    ended: dict[str, Ended] = {}
    wait_for("both to end", lambda: ended.update(engine.poll().ended) or len(ended) == 2)

    assert ended["one"] == Ended(0, "w1")
    assert ended["two"].unusable
    engine.close()


class Quiet(Fixed):
    """As Dask's: futures do not tell that their calls run, and take back one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Future] = []

    def submit(self, function: Any, *arguments: Any) -> Any:
        if function is not executor.slave_task:
            return super().submit(function, *arguments)
        self.calls.append(Future())
        return self.calls[-1]


def test_calls_that_do_not_tell_whether_they_run_are_taken_to_as_far_as_there_are_workers():
    """They are counted, and waited for at the end; those behind them are taken back."""
    pool = Quiet()
    engine = ExecutorEngine("r", "engine=", lambda: pool, own=True, slaves=None)
    for name in ("one", "two", "three"):
        engine.submit(name, None)  # type: ignore[arg-type]

    assert engine.poll().running == 2
    assert engine.poll().withdrawable == {"three"}
    assert sorted(engine.drain()) == ["one", "two"]
    assert [call.cancelled() for call in pool.calls] == [False, False, True]

    pool.calls[0].set_result(Ended(0, "w1"))
    assert engine.poll().ended == {"one": Ended(0, "w1")}
    assert engine.poll().running == 1
    engine.close()


def test_the_workers_of_a_cluster_of_dasks_are_known_to_its_client():
    """Without --slaves, there is a slave for each thread."""

    class Client:
        def nthreads(self) -> dict[str, int]:
            return {"tcp://a": 2, "tcp://b": 1}

    pool = Late()
    pool._client = Client()  # type: ignore[attr-defined]
    engine = ExecutorEngine("r", "engine=", lambda: pool, own=True, slaves=None)

    assert engine.poll().workers == 3
    engine.close()


def test_a_pool_that_has_broken_is_made_again_or_ends_the_fleet():
    """Only what makes it can make another one."""

    class Breaks(Fixed):
        def submit(self, function: Any, *arguments: Any) -> Any:
            if function is executor.slave_task:
                raise BrokenExecutor("a worker has died")
            return super().submit(function, *arguments)

    pools = [Breaks(), Fixed(Ended(0, "w1"))]
    engine = ExecutorEngine("r", "engine=", lambda: pools.pop(0), own=True, slaves=None)
    engine.submit("one", None)  # type: ignore[arg-type]
    assert engine.poll().ended == {"one": Ended(0, "w1")}
    engine.close()

    given = Breaks()
    engine = ExecutorEngine("s", "engine=", lambda: given, own=False, slaves=None)
    with pytest.raises(EngineGone, match=r"a worker has died.*give a function"):
        engine.submit("one", None)  # type: ignore[arg-type]
    engine.close()


@pytest.mark.parametrize("busy", [False, True])
def test_an_executor_that_has_nothing_to_do_is_waited_for_at_the_end(busy):
    """One whose calls run is not: they end with the command."""
    waited: list[bool] = []

    class Noted(Fixed):
        _max_workers = 1

        def shutdown(self, wait: bool = True) -> None:
            waited.append(wait)

    engine = ExecutorEngine("r", "--engine=pools.py:make", Noted, own=True, slaves=None)
    if busy:
        engine._futures["one"] = Future()
    engine.close()

    assert waited == [not busy]
