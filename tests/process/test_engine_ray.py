"""``--engine ray`` where Ray itself is the matter: its head, its other machines, its version of
Taskmaster, and its tasks behind an Executor.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.commands import wait_for
from support.engines import RayEngine, RayProcesses

import taskmaster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: `make check` does, where it can be."),
    pytest.mark.skipif(os.geteuid() != 0, reason="Ray listens on every interface, and needs a network of its own."),
]

ALL = Counter(map(str, range(400)))


@pytest.fixture
def start_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RayProcesses]]:
    """Start Ray, in a network of its own each time."""
    found: list[RayProcesses] = []

    def start(*words: str, **environment: str) -> RayProcesses:
        found.append(RayProcesses(tmp_path_factory.mktemp("ray"), *words, **environment))
        return found[-1]

    yield start
    for one in found:
        one.close()


def test_a_head_that_is_gone_ends_the_command_and_the_same_one_resumes(playground, start_ray):
    """With exit code 1 and Ray's own message, once Ray has given its head up; no slave is left, and
    another head runs the rest.
    """
    cluster = start_ray()
    engine = RayEngine(playground, cluster)
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400", RAY_gcs_rpc_server_reconnect_timeout_s="3")
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2 and len(engine.hosts()) >= 2)
    wait_for("a checkpoint", playground.in_state)
    cluster.kill()
    assert run.end() == 1, run.output
    assert "Failed to connect to GCS within 3 seconds" in run.output
    engine.wait_for_no_slaves()
    playground.let_go()

    again = RayEngine(playground, start_ray()).run("tm-run", "jobs.py", TOTAL="400")
    assert again.process.returncode == 0, again.output
    assert "Resuming" in again.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)
    assert found.total() - len(found) <= 110, "a checkpoint was there"


def test_the_key_does_not_travel_to_other_machines_in_clear(playground, start_ray):
    """Exit code 2, and no state; ``--insecure-engine`` accepts it, and then slaves have to reach
    the master.
    """
    cluster = start_ray("10.251.0.1")
    cluster.add_node("10.251.0.2")
    engine = RayEngine(playground, cluster)
    playground.write("tm.key", "k" * 40).chmod(0o600)
    for words, cure in ([[], "--insecure-engine"], [["--insecure-engine"], "--host=0.0.0.0"]):
        refused = engine.run("tm-run", "jobs.py", *words)
        assert refused.process.returncode == 2, refused.output
        assert cure in refused.output
    assert not list(playground.directory.glob("*.tmstate"))

    words = ["--insecure-engine", "--host=0.0.0.0:5050", "--key-file=tm.key", "--advertise=10.251.0.1:5050"]
    run = engine.run("tm-run", "jobs.py", *words, TOTAL="400")
    assert run.process.returncode == 0, run.output
    assert " of 4 slaves" in run.output
    assert playground.ledger.ended() == ALL


def test_slaves_that_wait_have_the_autoscaler_add_nodes_which_go_after_the_run(playground, start_ray):
    """From one node to three and back; a master that other machines cannot reach keeps to one, and
    says what is missing.
    """
    cluster = start_ray(adds=2)
    engine = RayEngine(playground, cluster)
    stays = engine.run("tm-run", "jobs.py", "--slaves=3", TOTAL="100")
    assert stays.process.returncode == 0, stays.output
    assert "3 slaves are wanted, and this machine, the only one that Ray has yet, has CPUs for 1" in stays.output
    assert cluster.nodes() == 1

    playground.write("tm.key", "k" * 40).chmod(0o600)
    playground.hold(after=200)
    words = ["--slaves=3", "--host=0.0.0.0:5050", "--key-file=tm.key", "--insecure-engine"]
    run = engine.start("tm-run", "jobs.py", *words, TOTAL="400")
    wait_for("three slaves at work", lambda: len(engine.hosts()) == 3, 90.0)
    assert cluster.nodes() >= 3
    playground.let_go()
    assert run.end() == 0, run.output
    assert playground.ledger.ended() == ALL
    wait_for("the nodes to go", lambda: cluster.nodes() == 1, 60.0)


def test_slaves_of_another_version_are_refused_with_the_sentence(playground, start_ray):
    """Where Ray's workers have a Taskmaster that speaks another protocol."""
    there = playground.directory / "there"
    own = Path(taskmaster.__file__).parent
    shutil.copytree(own, there / "taskmaster", ignore=shutil.ignore_patterns("__pycache__"))
    for wire in there.rglob("*.py"):
        wire.write_text(wire.read_text().replace("\nPROTOCOL = ", "\nPROTOCOL = 1000 + "))
    run = RayEngine(playground, start_ray(PYTHONPATH=str(there))).run("tm-run", "jobs.py", TOTAL="400")

    assert run.process.returncode in (2, 6), run.output
    assert "version" in run.output
    assert playground.ledger.ended() == Counter()


POOLS = """
import os
from concurrent.futures import Executor

import ray

class RayExecutor(Executor):
    _max_workers = 2

    def submit(self, function, /, *arguments):
        return ray.remote(function).options(max_retries=0).remote(*arguments).future()

def make():
    ray.init(address="auto", log_to_driver=False, ignore_reinit_error=True)
    return RayExecutor()
"""
USER = """
from jobs import *

def handle_job(key):
    note("start", key)
    hold()
    if key == 50:
        os._exit(9)
    if key == 150:
        time.sleep(600)
    note("end", key)
"""


def test_an_executor_made_of_ray_runs_batches(playground, start_ray):
    """``tm-slave --executor``: jobs that end their process or hang fail alone, and no worker of Ray
    dies of them.
    """
    playground.write("pools.py", POOLS)
    playground.write("user.py", USER)
    cluster = start_ray()
    engine = RayEngine(playground, cluster)
    words = ["--host=127.0.0.1:5050", "--no-progress", "--retries=0", "--crashes=1", "--job-timeout=3"]
    master = engine.beside("tm-master", "user.py", *words, TOTAL="400")
    there = [f"--env={name}={value}" for name, value in {**playground.environment, "TOTAL": "400"}.items()]
    slave = engine.beside("tm-slave", "user.py", words[0], "--executor=pools.py:make", "--ship=jobs.py", *there)

    assert master.end() == 3, master.output
    assert slave.end() == 0, slave.output
    assert playground.ledger.ended() == ALL - Counter(["50", "150"])
    assert "2 worker processes on the executor." in slave.output
    assert "another one is made" not in slave.output
