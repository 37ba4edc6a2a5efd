"""The benchmarks that stand on the inside of the product run, however small, and count what was
really run.

They are no part of the product, and nobody sees that they have fallen behind it before an hour is
spent on measuring.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(directory: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_light_slaves_speak_the_protocol_and_run_each_job_once(tmp_path: Path) -> None:
    """What stands for a slave in the benchmark of many follows the real one: no job is lost, or run
    twice.
    """
    script = str(ROOT / "benchmarks" / "light_slaves.py")
    (found,) = json.loads(run(tmp_path, script, "--slaves=5", "--seconds=1", "--json"))
    assert found["busy"]["jobs"] > 5
    assert (found["lost"], found["twice"], found["untold"]) == (0, 0, 0)


@pytest.mark.slow
def test_the_cost_of_looking_can_be_measured(tmp_path: Path) -> None:
    """Both runs end, and are compared; what comes of one short round says nothing of the cost."""
    command = [sys.executable, str(ROOT / "benchmarks" / "looking.py"), "--rounds=1", "--jobs=100000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert min(found[0]["nobody"]["cpu"], found[0]["looking"]["cpu"]) > 0.01
    assert found[-1]["rounds"] == 1


@pytest.mark.slow
def test_a_look_at_many_slaves_and_failures_can_be_measured(tmp_path: Path) -> None:
    """Slaves leave and others come, jobs fail, and each look counts both."""
    command = [sys.executable, str(ROOT / "benchmarks" / "looking_at_many.py"), "--slaves=3", "--failures=20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] >= 20
    assert found["slaves_ever"] > 3
    assert found["bytes_most"] > 1000


@pytest.mark.parametrize(
    "work", ["W1", *(pytest.param(work, marks=pytest.mark.slow) for work in ["W2", "W3", "W7", "W10", "W11"])]
)
def test_the_works_of_the_table_run_with_taskmaster(tmp_path: Path, work: str) -> None:
    """Each work can be measured, and all its jobs are settled."""
    found = json.loads(run(tmp_path, "-m", "benchmarks.peers.tm_run", work, "20"))
    assert found["jobs"] == 20
