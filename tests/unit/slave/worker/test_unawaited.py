"""Coroutines that are made and thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from taskmaster.slave.worker import unawaited
from taskmaster.slave.worker.results import NothingRan
from taskmaster.slave.worker.unawaited import Unawaited, count_as_users, is_users_code, never_awaited


async def save(job: Any) -> Any:
    return job


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Python's own warnings are not what is looked at."""
    monkeypatch.setattr(unawaited, "_unclaimed", set())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_coroutine_that_is_thrown_away_fails_the_job_that_runs() -> None:
    """Once, by its name; what is awaited is none."""
    with Unawaited() as unawaited:
        asyncio.run(save(1))
        unawaited.check()
        save(1)
        with pytest.raises(NothingRan, match=r"^save\(\) was called and not awaited"):
            unawaited.check()
        unawaited.check()


def test_what_holds_it_may_be_anything() -> None:
    """It is noticed when that is thrown away."""
    held: Any = {"of": [{save(1): 1}]}
    with Unawaited() as unawaited:
        held = None
        with pytest.raises(NothingRan):
            unawaited.check()
    assert held is None


def test_it_can_be_said_at_once() -> None:
    """While the job runs."""
    said: list[NothingRan] = []
    with Unawaited(said.append):
        save(1)
        assert len(said) == 1


def test_each_of_several_coroutines_has_its_own() -> None:
    """The one that threw something away fails, and none of the others."""

    async def job(number: int) -> str:
        await asyncio.sleep(0)
        if number == 1:
            save(number)
        await asyncio.sleep(0)
        try:
            unawaited.check()
        except NothingRan:
            return "failed"
        return "done"

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(job, range(3)))

    with Unawaited() as unawaited:
        assert asyncio.run(all_of_them()) == ["done", "failed", "done"]


def test_what_a_library_throws_away_within_itself_is_its_own_affair() -> None:
    """Where both the coroutine and the place are the library's."""
    with Unawaited() as unawaited, contextlib.suppress(TypeError):
        exec(compile("from asyncio import sleep\nsleep(0)", asyncio.__file__, "exec"), {})
        unawaited.check()
    assert not is_users_code(asyncio.sleep.__code__)
    assert is_users_code(save.__code__)


def test_python_s_own_hook_is_back_afterwards() -> None:
    """Also after an error."""
    before = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]
    with contextlib.suppress(KeyError), Unawaited():
        raise KeyError
    assert warnings._warn_unawaited_coroutine is before  # type: ignore[attr-defined]


def test_jobs_of_two_threads_may_end_in_any_order() -> None:
    """The hook is back after both, and what is thrown away then is nobody's."""
    before = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]
    said: list[NothingRan] = []
    first, second = Unawaited(said.append), Unawaited()
    with contextlib.ExitStack() as second_ends:
        with first:
            second_ends.enter_context(second)
        save(1)
        with pytest.raises(NothingRan):
            second.check()
    assert warnings._warn_unawaited_coroutine == before  # type: ignore[attr-defined]
    save(1)
    assert (said, never_awaited([])) == ([], [])


def test_it_fails_the_job_where_warnings_are_errors() -> None:
    """Python ignores what is raised while it throws something away."""
    warnings.simplefilter("error")
    with Unawaited() as noticed:
        with warnings.catch_warnings():
            sys.unraisablehook, before = lambda _: None, sys.unraisablehook
            save(1)
            sys.unraisablehook = before
        with pytest.raises(NothingRan):
            noticed.check()


WHY = "save() was called and not awaited, so that nothing of it was run: await it, or return what it gives"


@pytest.mark.parametrize("at_once", [False, True])
def test_what_another_thread_throws_away_is_said_at_the_end(at_once: bool) -> None:
    """It belongs to no job."""
    with Unawaited((lambda _: None) if at_once else None) as noticed:
        thread = threading.Thread(target=lambda: save(1) and None)
        thread.start()
        thread.join()
        noticed.check()
    assert never_awaited([]) == [WHY]


def test_what_a_task_of_a_job_throws_away_is_said_at_the_end() -> None:
    """However many there are."""

    async def throw() -> None:
        save(1)

    async def job() -> None:
        await asyncio.create_task(throw())
        noticed.check()

    with Unawaited() as noticed:
        asyncio.run(job())
    assert never_awaited([]) == [WHY]


def test_what_a_failed_job_throws_away_is_forgotten() -> None:
    """It is run again."""
    with Unawaited() as noticed:
        save(1)
        noticed.forget()
        noticed.check()
    assert never_awaited([]) == []


def test_what_is_kept_was_not_awaited_either() -> None:
    """One that was begun, or has ended, is another thing."""
    kept, begun, done = save(1), save(2), save(3)
    with contextlib.suppress(StopIteration):
        done.send(None)
    begun.close()
    assert never_awaited([kept, begun, done, asyncio.sleep(0)]) == [WHY]
    kept.close()


@pytest.mark.parametrize("layout", ["jobs.py", "shop/jobs.py"])
def test_the_package_of_the_callback_is_the_users_wherever_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """As in a container, where all is a library; other libraries stay that."""
    for file in (layout, "other.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("async def save(job): pass\n\ndef handle_job(job): save(job)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unawaited, "_libraries", lambda: (str(tmp_path),))
    monkeypatch.setattr(unawaited, "_own", set())
    name = layout.removesuffix(".py").replace("/", ".")
    for module in (name, name.partition(".")[0], "other"):
        monkeypatch.setitem(sys.modules, module, None)  # so that it is taken out at the end
        del sys.modules[module]
    own, other = importlib.import_module(name), importlib.import_module("other")
    with Unawaited() as noticed:
        own.handle_job(1)
        noticed.check()
        count_as_users(own.handle_job)
        own.handle_job(1)
        with pytest.raises(NothingRan, match="save"):
            noticed.check()
    assert not is_users_code(other.save.__code__)
