"""What is promised of a run holds on every engine: Dask, pools and Ray, with an independent ledger.

What is tried with one of them stands in ``test_engine_dask``, ``test_engine_executor`` and
``test_engine_ray``. What has no meaning on the others:

- A scheduler that is killed and comes back: a pool has none. Ray's head ends the command, which is
  tried there.
- Scale-down under a slave, and an adaptive cluster: a pool has the workers that it was made with,
  and Ray's autoscaler takes no node on which something runs.
- A scheduler on another machine without TLS: a pool has none; how calls of another Executor travel
  is its own business.
- Two runs on one cluster: a pool belongs to its command.
- Another version of Taskmaster there: workers of a pool, and loky's, import from where the command
  does.
- A job that cannot be pickled: the master says so, before any engine hears of it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from support.commands import free_port, wait_for
from support.dask_cluster import DaskProcesses
from support.engines import DaskEngine, EngineOfTest, RayEngine, RayProcesses, make_engine
from support.playground import Playground, failed_jobs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KINDS = ["dask", "forked", "loky", "ray"]
ALL = Counter(str(key) for key in range(400))
every_engine = pytest.mark.parametrize("engine", KINDS, indirect=True)
thorough = pytest.mark.thorough


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RayProcesses]]:
    """Give Ray, which takes its time to start: one for all tests that ask."""
    found: list[RayProcesses] = []

    def ask() -> RayProcesses:
        if os.geteuid():
            pytest.skip("Ray listens on every interface, and only root can give it a network of its own.")
        if not found:
            found.append(RayProcesses(tmp_path_factory.mktemp("ray")))
        return found[0]

    yield ask
    for one in found:
        one.close()


@pytest.fixture
def engine(request, playground: Playground, ray: Callable[[], RayProcesses]) -> Iterator[EngineOfTest]:
    """An engine with two workers."""
    kind = request.param
    if kind in ("ray", "loky") and find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed: `make check` does, where it can be.")
    found = RayEngine(playground, ray()) if kind == "ray" else make_engine(kind, playground)
    yield found
    found.close()


def at_work(playground: Playground, engine: EngineOfTest) -> set[int]:
    """Wait for two slaves whose jobs are held; return the engine's workers that have them."""
    wait_for("two slaves at work", lambda: len(playground.held()) >= 2 and len(engine.hosts()) >= 2)
    return engine.hosts()


@every_engine
@pytest.mark.parametrize("number", [1, 2])
@thorough
def test_killed_workers_cost_what_was_in_flight(playground, engine, number):
    """Kill -9 of one of an engine's workers under a run, or of all of them, in whose place come
    others: nothing is missing, and few run twice.
    """
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    for host in sorted(at_work(playground, engine))[:number]:
        with suppress(ProcessLookupError):  # a pool of which one has ended ends the others itself
            os.kill(host, signal.SIGKILL)
    playground.let_go()

    assert run.end() == 0, run.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)
    assert found.total() - len(found) <= 8
    engine.wait_for_no_slaves()


@pytest.mark.parametrize(
    "engine",
    ["dask", *(pytest.param(kind, marks=thorough) for kind in KINDS if kind != "dask")],
    indirect=True,
)
def test_a_killed_command_leaves_no_slave_and_the_same_one_resumes(playground, engine):
    """On the same port and on another one: nothing is missing, and what was in flight runs
    twice.
    """
    port = free_port()
    known = [f"--host=127.0.0.1:{port}", "--key-file=tm.key"]
    playground.write("tm.key", "k" * 40).chmod(0o600)
    for after in (60, 120):
        playground.hold(after=after)
        run = engine.start("tm-run", "jobs.py", "--batch=2", *known, TOTAL="400")
        at_work(playground, engine)
        wait_for("a checkpoint", playground.in_state)
        run.kill()
        engine.wait_for_no_slaves()
        playground.let_go()

    last = engine.run("tm-run", "jobs.py", TOTAL="400")
    assert last.process.returncode == 0, last.output
    assert "esuming" in last.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)
    assert found.total() - len(found) <= 160, "a run that began anew each time would have more"


@every_engine
@thorough
def test_ctrl_c_drains_and_nothing_runs_twice(playground, engine):
    """Exit code 130, no slave goes on, and the same command does the rest."""
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", TOTAL="400")
    at_work(playground, engine)
    playground.interrupt(run)
    assert run.end() == 130, run.output
    engine.wait_for_no_slaves()

    again = engine.run("tm-run", "jobs.py", TOTAL="400")
    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended() == ALL


HELPED = """
import helper

def get_jobs(last=-1):
    for key in range(last + 1, TOTAL):
        yield key
        yield key

_handle = handle_job

def handle_job(key):
    print(f"word {helper.WORD}-{os.environ['WORD']} of {key}", flush=True)
    _handle(key)
"""


@every_engine
@thorough
def test_equal_jobs_shipped_files_variables_output_and_the_key(playground, engine):
    """Equal jobs run as often as they are yielded; a module of --ship and a variable of --env
    arrive; what callbacks print is on the engine's log, line by line; and neither a log nor a list
    of processes has the key.
    """
    key = "k" * 40 + "-very-secret"
    playground.write("tm.key", key).chmod(0o600)
    playground.write("helper.py", "WORD = 'shipped'")
    playground.write("user.py", (playground.directory / "jobs.py").read_text() + HELPED)
    playground.hold(after=50)
    words = ["--ship=helper.py", "--env=WORD=sent", "--key-file=tm.key", "--log-level=debug", "--host=127.0.0.1:0"]
    run = engine.start("tm-run", "user.py", *words, TOTAL="200")
    at_work(playground, engine)
    processes = "\n".join(playground.left().values())
    playground.let_go()

    assert run.end() == 0, run.output
    assert playground.ledger.ended() == Counter({str(number): 2 for number in range(200)})
    wait_for("the last line", lambda: "word shipped-sent of 199" in engine.log(run))
    lines = [line.partition(" of ")[2] for line in engine.log(run).splitlines() if "word shipped-sent of " in line]
    assert {line.strip() for line in lines} == {str(number) for number in range(200)}
    assert "taskmaster.slave" in processes
    assert not any(key in text for text in (processes, run.output, engine.log(run)))


SETTINGS = """
import os

SECRET_KEY = "none"
WORD = "shipped"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}}
"""
OF_DJANGO = """
from django.conf import settings
from django.db import connection

_handle = handle_job

def handle_job(key):
    assert settings.WORD == "shipped"
    connection.cursor().execute("SELECT 1")
    _handle(key)
"""


@every_engine
@thorough
def test_a_django_project_goes_there_and_has_the_databases_of_the_master_or_runs_nothing(playground, engine):
    """The name of the settings goes by itself, the project with ``--ship``, what they read of the
    environment with ``--env``; workers with another database end the run with 2 and the difference.
    """
    (playground.directory / "config").mkdir()
    playground.write("config/__init__.py", "")
    playground.write("config/settings.py", SETTINGS)
    playground.write("user.py", (playground.directory / "jobs.py").read_text() + OF_DJANGO)
    words = ["tm-run", "user.py", "--django-settings=config.settings", "--ship=config"]
    here = {"TOTAL": "400", "DATABASE": str(playground.directory / "here.sqlite3")}
    refused = engine.run(*words, "--env=DATABASE=/nowhere/there.sqlite3", **here)
    assert refused.process.returncode == 2, refused.output
    assert "The database 'default' is sqlite3 /nowhere/there.sqlite3 in the workers'" in refused.output
    assert playground.ledger.ended() == Counter()

    run = engine.run(*words, "--env=DATABASE", **here)
    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == ALL


@every_engine
@thorough
def test_a_callback_that_cannot_be_imported_there_ends_the_run(playground, engine):
    """With exit code 2 and what was missing, before any job has run; the state can be used."""
    there = "import sys\nif 'taskmaster.slave' in ' '.join(sys.orig_argv): import nowhere_at_all\n"
    module = (playground.directory / "jobs.py").read_text()
    playground.write("user.py", there + module)
    run = engine.run("tm-run", "user.py", TOTAL="400")

    assert run.process.returncode == 2, run.output
    assert "No slave can work on the engine" in run.output
    assert "nowhere_at_all" in run.output
    assert run.output.count("Traceback") == 1, "not once for each slave that has tried"
    assert "\x1e" not in run.output + engine.log(run)
    assert playground.ledger.ended() == Counter()
    engine.wait_for_no_slaves()
    playground.write("user.py", module)
    again = engine.run("tm-run", "user.py", TOTAL="400")
    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended() == ALL


BAD = """
import threading

class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.why = lambda: b

def get_jobs(last=-1):
    # Not held by their jobs, which have a time limit here.
    for key in range(last + 1, TOTAL):
        while key in (0, TOTAL - 1) and not os.path.exists(f"{LEDGER}.from-{key}"):
            time.sleep(0.02)
        yield key

def bad(key):
    if key == 111:
        os._exit(9)
    if key == 222:
        time.sleep(600)
    if key == 333:
        raise Odd(1, 2)

_handle = handle_job

def handle_job(key):
    _handle(key)
    if key == 300:
        return threading.Lock()
"""


@every_engine
@thorough
def test_bad_jobs_fail_alone_and_no_worker_of_the_engine_dies(playground, engine):
    """Jobs that kill their process, hang, raise what cannot be pickled, or return it."""
    module = (playground.directory / "jobs.py").read_text()
    playground.write("user.py", module.replace("    hold()\n    note", "    bad(key)\n    note") + BAD)
    words = ["--crashes=1", "--retries=0", "--job-timeout=2", "--batch=20"]
    run = engine.start("tm-run", "user.py", *words, TOTAL="400")
    wait_for("two slaves", lambda: len(engine.hosts()) >= 2)
    hosts = {psutil.Process(pid) for pid in engine.hosts()}
    playground.write(f"{playground.ledger.path.name}.from-0", "")
    good = ALL - Counter(["111", "222", "333"])
    wait_for("all jobs but the last", lambda: playground.ledger.ended() == good - Counter(["399"]))
    assert all(host.is_running() for host in hosts)
    assert {host.pid for host in hosts} == engine.hosts()
    playground.write(f"{playground.ledger.path.name}.from-399", "")

    assert run.end() == 3, run.output
    assert playground.ledger.ended() == good
    failed = {key: kind for key, kind, *_ in failed_jobs(playground)}
    assert failed.keys() == {"111", "222", "333"}
    assert failed["333"] == "Odd"
    assert "has ended" not in run.output, "a worker of the engine was lost"


@every_engine
@thorough
def test_the_source_is_read_no_further_ahead_than_the_window(playground, engine):
    """``--size`` and what is in flight, whatever the engine holds; and it has one task for each
    slave.
    """
    playground.write(
        "user.py",
        (playground.directory / "jobs.py").read_text()
        + """
def get_jobs(last=-1):
    for key in range(last + 1, TOTAL):
        with open(LEDGER + ".read", "w") as file:
            file.write(str(key))
        yield key
""",
    )
    playground.hold(after=50)
    run = engine.start("tm-run", "user.py", "--size=40", "--batch=5", TOTAL="100000")
    at_work(playground, engine)
    read = Path(f"{playground.ledger.path}.read")
    ended = len(playground.ledger.ended())
    wait_for("the queue to be full", lambda: int(read.read_text() or 0) >= ended + 30)
    assert int(read.read_text() or 0) <= ended + 40 + 2 * 2 * 5 + 2
    assert len(engine.slaves()) == 2
    playground.interrupt(run)
    assert run.end() == 130, run.output


@pytest.mark.parametrize("engine", ["dask", "ray"], indirect=True)
@thorough
def test_two_runs_on_one_cluster_do_not_mix(playground, engine):
    """Each has its own jobs, key and slaves; one that is ended leaves those of the other."""
    playground.write("other.py", (playground.directory / "jobs.py").read_text() + "\nLEDGER += '.other'\n")
    playground.hold(after=0)  # their first jobs: one run is not over before the other begins
    one = engine.start("tm-run", "jobs.py", "--slaves=1", TOTAL="400")
    other = engine.start("tm-run", "other.py", "--slaves=1", TOTAL="300")
    at_work(playground, engine)
    playground.interrupt(other)
    assert other.end() == 130, other.output
    assert one.end() == 0, one.output
    again = engine.run("tm-run", "other.py", "--slaves=1", TOTAL="300")

    assert again.process.returncode == 0, again.output
    assert playground.ledger.ended() == ALL
    lines = Path(f"{playground.ledger.path}.other").read_text().splitlines()
    assert Counter(line.split()[1] for line in lines if line.startswith("end")) == Counter(map(str, range(300)))


@pytest.mark.parametrize("engine", ["ray"], indirect=True)
@thorough
def test_slaves_on_ray_of_a_master_elsewhere_drain_with_their_command_and_come_back(playground, engine):
    """Ctrl-C at ``tm-slave``: no job runs twice, no slave is left, and the same command goes on."""
    host = "--host=127.0.0.1:5050"
    master = engine.beside("tm-master", "jobs.py", host, TOTAL="3000")
    playground.hold(after=100)
    fleet = engine.start("tm-slave", "jobs.py", host)
    at_work(playground, engine)
    fleet.signal_group(signal.SIGINT)
    playground.let_go()
    assert fleet.end() == 130, fleet.output
    engine.wait_for_no_slaves()

    again = engine.run("tm-slave", "jobs.py", host)
    assert again.process.returncode == 0, again.output
    assert master.end() == 0, master.output
    assert playground.ledger.ended() == Counter(map(str, range(3000)))


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: `make check` does, where it can be.")
@thorough
def test_a_head_that_says_nothing_is_not_waited_for_as_long_as_ray_would(playground):
    """Ray tries for minutes: a port that is closed ends the command with 6 at once, and SIGTERM is
    heard meanwhile where something listens that is no head.
    """
    closed = playground.run("tm-run", "jobs.py", "--engine=ray", f"--scheduler=127.0.0.1:{free_port()}")
    assert closed.process.returncode == 6, closed.output
    assert "Connection refused. Start it with `ray start --head`" in closed.output
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        run = playground.start("tm-run", "jobs.py", "--engine=ray", f"--scheduler=127.0.0.1:{port}")
        run.wait_for_output("Failed to connect to GCS")
        run.signal_group(signal.SIGTERM)
        assert run.end(10.0) in (-signal.SIGTERM, 143), run.output
    assert "SIGTERM handler" not in run.output
    assert "Traceback" not in run.output
    assert not list(playground.directory.glob("*.tmstate"))


@thorough
def test_a_machine_that_is_lost_with_all_of_dask_on_it_costs_what_was_in_flight(playground):
    """The nanny and its worker at once, then the other machine too: a third one does the rest."""
    engine = DaskEngine(playground)
    playground.hold(after=100)
    run = engine.start("tm-run", "jobs.py", "--batch=2", TOTAL="400")
    at_work(playground, engine)
    for worker in engine.cluster.workers:
        worker.signal_group(signal.SIGKILL)
    engine.wait_for_no_slaves()
    engine.cluster.start_worker()
    playground.let_go()

    assert run.end() == 0, run.output
    found = playground.ledger.ended()
    assert set(found) == set(ALL)
    assert found.total() - len(found) <= 8
    engine.close()


ADAPTIVE = """
import time
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")
    cluster.adapt(minimum=0, maximum=3, interval="200ms", wait_count=3)
    print("at", cluster.scheduler_address, flush=True)
    before = 0
    while True:
        now = len(cluster.scheduler.workers)
        if now != before:
            print(f"workers={now}.", flush=True)
            before = now
        time.sleep(0.05)
"""


@thorough
def test_an_adaptive_cluster_grows_for_a_run_and_shrinks_after_it(playground):
    """From no worker to three, and back, with nothing run twice."""
    playground.write("adaptive.py", ADAPTIVE)
    cluster = playground.start("python", "adaptive.py", PYTHONWARNINGS="ignore")
    cluster.wait_for_output("at ")
    address = cluster.output.split("at ")[1].split()[0]
    playground.hold(after=50)
    words = ["--engine=dask", f"--scheduler={address}", "--slaves=3"]
    run = playground.start("tm-run", "jobs.py", *words, TOTAL="400")
    cluster.wait_for_output("workers=3.", 60.0)
    wait_for("three slaves at work", lambda: len(playground.held()) >= 3)
    playground.let_go()

    assert run.end() == 0, run.output
    assert playground.ledger.ended() == ALL
    cluster.wait_for_output("workers=0.", 60.0)


@thorough
def test_a_scheduler_is_reached_with_tls(playground, monkeypatch):
    """With the certificates of Dask's own configuration; without them the command ends with 6."""
    make_certificate(playground.directory)
    pem = str(playground.directory / "dask.pem")
    settings = {f"DASK_DISTRIBUTED__COMM__TLS__{name}__{what}": pem
                for name in ("SCHEDULER", "WORKER", "CLIENT") for what in ("CERT", "KEY")}  # fmt: skip
    settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = pem
    refused = playground.environment.copy()
    playground.environment.update(settings)
    cluster = DaskProcesses(playground, scheme="tls")
    run = playground.run("tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}", TOTAL="400")
    assert run.process.returncode == 0, run.output
    assert playground.ledger.ended() == ALL

    playground.environment.clear()
    playground.environment.update(refused)
    run = playground.run("tm-run", "jobs.py", "--reset", "--engine=dask", f"--scheduler={cluster.address}")
    assert run.process.returncode == 6, run.output
    assert "certificates" in run.output
    cluster.close()


def make_certificate(directory: Path) -> None:
    """Write a certificate and its key, which certifies itself, to dask.pem."""
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dask", "-keyout", "k.pem"]
    import subprocess

    subprocess.run(["openssl", *words, "-out", "c.pem"], cwd=directory, check=True, capture_output=True)
    (directory / "dask.pem").write_text((directory / "k.pem").read_text() + (directory / "c.pem").read_text())


@thorough
def test_slaves_of_another_version_are_refused_with_the_sentence(playground):
    """Workers whose Taskmaster speaks another protocol: the run ends, and says which."""
    import shutil

    import taskmaster

    there = playground.directory / "there"
    shutil.copytree(
        Path(taskmaster.__file__).parent, there / "taskmaster", ignore=shutil.ignore_patterns("__pycache__")
    )
    for wire in there.rglob("*.py"):
        wire.write_text(wire.read_text().replace("\nPROTOCOL = ", "\nPROTOCOL = 1000 + "))
    cluster = DaskProcesses(playground, PYTHONPATH=str(there))
    run = playground.run("tm-run", "jobs.py", "--engine=dask", f"--scheduler={cluster.address}", TOTAL="400")

    assert run.process.returncode in (2, 6), run.output
    assert "version" in run.output
    assert playground.ledger.ended() == Counter()
    cluster.close()
