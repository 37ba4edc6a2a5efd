"""The options about an engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from taskmaster.errors import UsageError
from taskmaster.options.commands import RunOptions, SlaveOptions
from taskmaster.options.engine import environment_of


@pytest.mark.parametrize("given", [{"scheduler": "tcp://h:1"}, {"slaves": 3}, {"ship": ("x",)}, {"advertise": "h:1"}])
def test_an_option_about_an_engine_needs_one(given):
    """Else it would mean nothing, silently."""
    with pytest.raises(UsageError, match="add --engine dask"):
        RunOptions(**given).check()


@pytest.mark.parametrize("engine", ["celery", "pools.py", object(), 3])
def test_an_engine_that_there_is_not_is_refused(engine):
    """With what there is."""
    with pytest.raises(UsageError, match="'dask', 'ray', or MODULE:FACTORY"):
        RunOptions(engine=engine).check()


@pytest.mark.parametrize("engine", ["dask", "ray", "pools.py:make", ThreadPoolExecutor, ThreadPoolExecutor(1)])
def test_engines_are_named_or_handed_over(engine):
    """By a word, as a function that makes one, or as an object that takes calls."""
    RunOptions(engine=engine).check()


def test_workers_on_an_engine_are_never_in_this_process():
    """--processes 0 and --engine contradict each other; with an engine, no slave is forked here."""
    with pytest.raises(UsageError, match="--engine=dask"):
        RunOptions(engine="dask", processes=0).check()

    assert not RunOptions(engine="dask").needs_slave
    assert RunOptions().needs_slave


def test_variables_are_given_or_taken_from_here(monkeypatch):
    """NAME=VALUE, or NAME that is set; another is refused before anything begins."""
    monkeypatch.setenv("HERE", "1=2")

    assert environment_of(("HERE", "OTHER=a=b", "EMPTY=")) == (("HERE", "1=2"), ("OTHER", "a=b"), ("EMPTY", ""))
    with pytest.raises(UsageError, match="NOWHERE"):
        environment_of(("NOWHERE",))
    with pytest.raises(UsageError, match="NAME=VALUE"):
        environment_of(("=x",))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"in_flight": 3}, "add --executor MODULE:FACTORY"),
        ({"executor": "pools.py"}, "give MODULE:FACTORY"),
        ({"executor": "pools.py:make", "engine": "dask"}, "--executor and --engine are both given"),
        ({"executor": "pools.py:make", "processes": 3}, "--executor and --processes are both given"),
        ({"executor": "pools.py:make", "jobs_per_worker": 3}, "--executor and --jobs-per-worker are both given"),
        ({"executor": "pools.py:make", "slaves": 3}, "add --engine dask"),
    ],
)
def test_an_executor_runs_batches_and_nothing_else(given, why):
    """What would mean nothing beside it is refused, and what is about it needs it."""
    with pytest.raises(UsageError, match=why):
        SlaveOptions(**given).check()


def test_files_and_variables_travel_to_an_executor(monkeypatch):
    """As they do to an engine."""
    SlaveOptions(executor="pools.py:make", in_flight=4, ship=("x.py",), env=("A=1",)).check()
