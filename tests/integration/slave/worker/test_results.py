"""Programs that a callback returns, as real ones."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from subprocess import PIPE
from typing import Any

import pytest

from taskmaster.slave.worker.results import ProgramFailed, Results

LONG = "import sys; sys.stdout.write('x' * 10**6); sys.stderr.write('x' * 10**6)"  # more than a pipe holds


def no_loop(_: Any) -> Any:
    raise AssertionError("nothing is awaited here")


@pytest.mark.parametrize(
    ("program", "pipes"),
    [
        (["cat"], {"stdin": PIPE}),
        (["cat"], {"stdin": PIPE, "stdout": PIPE}),
        ([sys.executable, "-c", LONG], {"stdout": PIPE, "stderr": subprocess.STDOUT}),
        ([sys.executable, "-c", LONG], {"stdout": PIPE, "stderr": PIPE}),
    ],
)
@pytest.mark.parametrize("closed", ["", "stdin", "stdout"])
def test_a_program_with_pipes_comes_to_its_end(program: list[str], pipes: dict[str, Any], closed: str) -> None:
    """One that reads is told that nothing more comes, and somebody reads what one writes: it was
    waited for without end.
    """
    begun = subprocess.Popen(program, **pipes)
    if closed in pipes:
        getattr(begun, closed).close()
    try:
        Results("handle_job()", no_loop).finish(begun)
    except ProgramFailed:
        assert closed == "stdout"  # it could not write
    assert begun.returncode is not None


def test_a_program_of_asyncio_counts_with_its_exit_code() -> None:
    """It is waited for in the loop that has begun it."""
    results = Results("handle_job()", no_loop)

    async def job(*program: str) -> None:
        begun = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE)
        await results.finish_async([begun])
        assert begun.returncode == 0

    asyncio.run(job(sys.executable, "-c", LONG.partition(";")[0] + "; print(sys.stdin.read(), 'x' * 10**6)"))
    with pytest.raises(ProgramFailed, match="has ended with exit code 1"):
        asyncio.run(job("false"))


@pytest.mark.parametrize("wrapped", [lambda ended: ended, lambda ended: [ended]], ids=["alone", "in a list"])
def test_a_program_that_has_ended_badly_fails_its_job(wrapped: Callable[[Any], Any]) -> None:
    """``lambda file: subprocess.run(["convert", file])`` says it in no other way."""
    results = Results("handle_job", asyncio.run)
    results.finish(wrapped(subprocess.CompletedProcess(["convert"], 0)))

    with pytest.raises(ProgramFailed, match=r"convert.* has ended with exit code 2"):
        results.finish(wrapped(subprocess.CompletedProcess(["convert"], 2)))
