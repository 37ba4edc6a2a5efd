"""The options about an engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from taskmaster.errors import UsageError
from taskmaster.options.commands import RunOptions
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
