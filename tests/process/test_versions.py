"""Master and slave on different versions of Python, and with its assertions off or its warnings
on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from support import proof
from support.commands import free_port
from support.playground import Playground

ROOT = Path(__file__).parent.parent.parent
VERSIONS = os.environ.get("TASKMASTER_TEST_PYTHONS", "3.11 3.12 3.13").split()
JOBS = proof.size(500, 20_000)
RUN = "import sys; from taskmaster.cli.{module} import {main}; {main}(sys.argv[1:])"


def find_python(version: str) -> str:
    """An interpreter of that version; it has to be there, or the proof fails."""
    places = [f"python{version}", *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))]
    for place in places:
        asked = [place, "-c", "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"]
        try:
            found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            continue
        if found[1] == version:
            return found[0]
    raise AssertionError(f"Python {version} is expected on this machine (TASKMASTER_TEST_PYTHONS), and is not there")


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Python with Taskmaster for each version."""
    made = {}
    for version in VERSIONS:
        place = tmp_path_factory.mktemp("venv") / version
        subprocess.run([find_python(version), "-m", "venv", str(place)], check=True)
        made[version] = str(place / "bin" / "python")
        pip = [made[version], "-m", "pip", "--disable-pip-version-check", "--quiet", "install", str(ROOT)]
        subprocess.run(pip, check=True)
    return made


def command(python: str, name: str, *words: str) -> list[str]:
    """A command of Taskmaster under an interpreter."""
    return [str(Path(python).parent / name), *words]


@pytest.mark.proof
@pytest.mark.timeout(proof.size(300, 1800))
def test_master_and_slave_may_run_different_pythons(playground: Playground, pythons: dict[str, str]) -> None:
    """Each pair of versions, in either direction."""
    for ours, theirs in permutations(VERSIONS, 2):
        playground.ledger.path.unlink(missing_ok=True)
        where = f"--host=127.0.0.1:{free_port()}"
        state = f"--state={playground.directory / f'{ours}-{theirs}.tmstate'}"
        master = playground.start(
            *command(pythons[ours], "tm-master", "jobs.py", where, state, "--progress=none"), TOTAL=str(JOBS), SLEEP="0"
        )
        slave = playground.start(*command(pythons[theirs], "tm-slave", "jobs.py", where, "--processes=2"), SLEEP="0")

        assert master.end(60) == 0, f"{ours} with {theirs}: {master.output}"
        assert slave.end() == 0, f"{ours} with {theirs}: {slave.output}"
        ended = playground.ledger.ended()
        assert len(ended) == ended.total() == JOBS, f"{ours} with {theirs}"
    pairs = len(VERSIONS) * (len(VERSIONS) - 1)
    name = f"master and slave on different Pythons ({', '.join(VERSIONS)}), {JOBS:,} jobs each"
    proof.record(name, tried=pairs, survived=pairs, repeated=0, bound=0)


@pytest.mark.proof
@pytest.mark.timeout(proof.size(600, 3600))
def test_the_tests_pass_in_the_developers_mode() -> None:
    """With every warning an error: an unclosed file, a coroutine that nobody awaits."""
    chosen: tuple[str, ...] = proof.size(("tests/unit", "tests/contract", "tests/simulation"), ())
    passed = run_tests(["-X", "dev", "-W", "error"], {"PYTHONDEVMODE": "1"}, *chosen)
    proof.record(f"{parts(chosen)} under python -X dev -W error", tried=passed, survived=passed)


@pytest.mark.proof
@pytest.mark.timeout(proof.size(600, 3600))
def test_nothing_hangs_on_assertions() -> None:
    """The commands run without them (PYTHONOPTIMIZE), while the tests keep theirs."""
    off = {**os.environ, "PYTHONOPTIMIZE": "1"}
    probe = subprocess.run([sys.executable, "-c", "assert False"], env=off, check=False)

    assert probe.returncode == 0, "PYTHONOPTIMIZE does not switch assertions off"

    chosen: tuple[str, ...] = proof.size(("tests/process/test_policy.py", "tests/process/test_resume.py"), ())
    passed = run_tests(["-E"], {"PYTHONOPTIMIZE": "1"}, *chosen)
    proof.record(f"{parts(chosen)}, its commands under python -O", tried=passed, survived=passed)


def parts(chosen: tuple[str, ...]) -> str:
    """What the table calls them."""
    return ", ".join(chosen) or "the whole suite"


def run_tests(words: list[str], environment: dict[str, str], *chosen: str) -> int:
    """Run tests in a Python of their own; all have to pass, and there have to be some. Gives how
    many.
    """
    run = [
        sys.executable,
        *words,
        "-m",
        "pytest",
        *chosen,
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not proof",
    ]
    ended = subprocess.run(
        run, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout[-3000:]
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed, ended.stdout[-3000:]
    return int(passed[1])
