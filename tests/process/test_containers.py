"""The files of ``examples/deploy`` that make containers: each command in them is run, as the first
process of a container, by the user that the image has.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import BIN, wait_for
from support.containers import Container, Image, Machine, build, cannot_contain
from support.kubernetes import Cluster, JobRules, Pod
from support.playground import Playground
from support.processes import zombies_of
from support.units import Unit

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
USER = 10001  # of the image
# In the place of the module that is in the image; each job leaves an orphan behind.
JOBS = """
import sys
sys.path.insert(0, "/ledger")
from jobs import *

def handle_job(key):
    child = os.fork()
    if not child:
        if not os.fork():
            time.sleep(0.01)
        os._exit(0)
    os.waitpid(child, 0)
    note("start", key)
    time.sleep(0.01)
    hold()
    note("end", key)
"""

# An image is built first.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the Dockerfile makes, with all that it runs."""
    if why := cannot_contain():
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return build(DEPLOY / "docker" / "Dockerfile", ROOT, tmp_path_factory.mktemp("image") / "layer")


@pytest.fixture
def ground(playground: Playground) -> Playground:
    """A playground whose ledger everybody can write to."""
    (place := playground.directory / "ledger").mkdir()
    place.chmod(0o777)
    playground.ledger.path = place / "ledger.txt"
    (place / "jobs.py").write_text((playground.directory / "jobs.py").read_text())
    playground.write("backfill.py", JOBS)
    return playground


def common(ground: Playground) -> dict[str, Path]:
    """What every container of a test sees."""
    return {"/ledger": ground.directory / "ledger", "/app/backfill.py:ro": ground.directory / "backfill.py"}


def key_file(ground: Playground, owner: int) -> Path:
    """A new key of somebody's."""
    path = ground.directory / f"{owner}.key"
    assert ground.run("tm-ctl", "keygen", str(path)).process.returncode == 0
    os.chown(path, owner, owner)
    return path


def status_of(container: Container) -> dict[str, str]:
    """What the system says of the process that a first process has begun, which is the command."""
    text = Path(f"/proc/{container.first}/status").read_text()
    return dict(line.partition(":\t")[::2] for line in text.splitlines())


def services() -> dict[str, Any]:
    """Those of the compose file."""
    return yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"]


def test_compose_runs_a_run(image: Image, ground: Playground) -> None:
    """The image's own command and those of compose: as a user without rights, orphans are taken
    note of, ``docker stop`` costs no job, the state is on the volume, and all end with 0.
    """
    machine = Machine(ground, image, "master")
    key = key_file(ground, USER)
    (state := ground.directory / "state").mkdir()
    os.chown(state, USER, USER)
    mounts = {**common(ground), "/run/secrets/tm.key:ro": key}
    total = {"TOTAL": "60"}
    commands = {name: service["command"] for name, service in services().items()}
    assert image.command[0] == "tm-slave"
    assert (image.layer / "state").stat().st_uid == USER

    ground.hold(20)
    first = machine.start(commands["master"], mounts={**mounts, "/state": state}, environment=total)
    slaves = [machine.start(words, mounts=mounts) for words in (commands["slave"], image.command)]
    wait_for("jobs that wait", lambda: ground.ledger.ended().total() >= 20 and len(ground.ledger.running()) == 4)
    assert status_of(slaves[1])["Uid"].split() == [str(USER)] * 4
    assert status_of(slaves[1])["CapEff"] == "0" * 16
    wait_for("an end of the zombies", lambda: not zombies_of(slaves[0].first) + zombies_of(slaves[1].first))
    stops = [first, slaves[0]]
    for container in stops:
        container.signal(signal.SIGTERM)
        wait_for("that it heard it", lambda one=container: "the same signal again ends at once" in one.output)
    ground.let_go()

    assert [container.end() for container in stops] == [143, 143], [one.output for one in stops]
    assert (state / "backfill.tmstate").stat().st_uid == USER
    assert not list(ground.directory.glob("*.tmstate"))

    again = machine.start(commands["master"], mounts={**mounts, "/state": state}, environment=total)
    assert again.end() == 0, again.output
    assert slaves[1].end() == 0, slaves[1].output
    assert set(ground.ledger.ended().values()) == {1}
    assert ground.ledger.ended().total() == 60


def jobs_of_kubernetes() -> list[JobRules]:
    """The Jobs of the master and of the slaves."""
    documents = [
        document
        for name in ("master", "slaves")
        for document in yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())
    ]
    return [JobRules(document["spec"]) for document in documents if document["kind"] == "Job"]


def test_kubernetes_runs_a_run(image: Image, ground: Playground) -> None:
    """Evicted pods cost no job, a master that was killed goes on, and both Jobs are complete when
    the run is over.
    """
    master, slaves = jobs_of_kubernetes()
    slaves.spec["parallelism"] = 2
    cluster = Cluster(
        Machine(ground, image, "backfill-master"),
        ground.directory,
        {"backfill-key": {"tm.key": b"a key of many characters\n"}},
        common(ground),
        {"TOTAL": "90"},
    )

    def until(what: str, condition: Callable[[], object]) -> None:
        def look() -> object:
            cluster.reconcile(master, slaves)
            return condition()

        wait_for(what, look)

    def held(after: int) -> None:
        ground.hold(after)
        until("jobs that wait", lambda: ground.ledger.ended().total() >= after and len(ground.ledger.running()) == 4)

    def evict(pod: Pod) -> None:
        cluster.evict(pod)
        until("that it heard it", lambda: "the same signal again ends at once" in pod.container.output)

    held(20)
    probe = master.spec["template"]["spec"]["containers"][0]["readinessProbe"]["exec"]["command"]
    probed = cluster.execute(probe, master)
    assert probed.end() == 0, probed.output
    evict(cluster.of(slaves)[0])
    evict(cluster.of(master)[0])
    ground.hold(60)  # at once, as on a slow machine the last job may have ended before the next look
    until("new pods", lambda: len(cluster.pods) == 3 and not any(pod.disrupted for pod in cluster.pods))
    until("jobs after that", lambda: ground.ledger.ended().total() >= 40)
    assert (master.failed, slaves.failed) == (0, 0)
    assert set(ground.ledger.ended().values()) == {1}

    held(60)
    (killed,) = cluster.of(master)
    killed.container.signal(signal.SIGKILL)
    until("another master", lambda: master.failed == 1 and master.active == 1)
    ground.let_go()
    until("the end", lambda: master.condition and slaves.condition)

    assert (master.condition, slaves.condition) == ("Complete", "Complete")
    assert (master.failed, slaves.failed) == (1, 0)
    assert "can be written to" not in killed.container.output
    assert len(ground.ledger.ended()) == 90


def credential(ground: Playground, user: int) -> Path:
    """A directory with the key as systemd lays it: of root, and one other user may read it."""
    (place := ground.directory / "credentials").mkdir()
    (path := place / "tm.key").write_text("a key of many characters\n")
    path.chmod(0o400)
    entries = [(0x01, 4, -1), (0x02, 4, user), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", acl)
    return place


@pytest.mark.parametrize("name", ["tm-master@", "tm-slave@"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    """It has nothing to say against them."""
    if not (tool := shutil.which("systemd-analyze")):
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no systemd-analyze here")
    text = (DEPLOY / "systemd" / f"{name}.service").read_text()
    (tmp_path / f"{name}.service").write_text(text.replace("/opt/taskmaster/bin", str(BIN)))
    done = subprocess.run(
        [tool, "verify", str(tmp_path / f"{name}.service")], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_units_run_a_run(image: Image, ground: Playground) -> None:
    """``systemctl stop`` costs no job and is no failure, what is started again goes on, and what no
    start cures is not started again.
    """
    machine = Machine(ground, image)
    user = 61184  # as DynamicUser= takes them
    (state := ground.directory / "state").mkdir()
    os.chown(state, user, user)
    (ground.directory / "broken.py").write_text("from nowhere import handle_job, get_jobs\n")
    mounts = {
        "/ledger": ground.directory / "ledger",
        "/srv/taskmaster/backfill.py:ro": ground.directory / "backfill.py",
        "/srv/taskmaster/broken.py:ro": ground.directory / "broken.py",
        "/run/credentials:ro": credential(ground, user),
        "/var/lib/taskmaster": state,
    }
    master, slave = (Unit(DEPLOY / "systemd" / f"tm-{name}@.service") for name in ("master", "slave"))

    def start(unit: Unit, instance: str = "backfill", **environment: str) -> Container:
        variables = {"CREDENTIALS_DIRECTORY": "/run/credentials", "STATE_DIRECTORY": "/var/lib/taskmaster"}
        return machine.start(
            unit.command(instance, variables),
            user=f"{user}:{user}",
            directory=unit["WorkingDirectory"],
            environment={**variables, "TASKMASTER_HOST": "127.0.0.1:5050", "TASKMASTER_PROCESSES": "2", **environment},
            mounts=mounts,
        )

    ground.hold(20)
    running = [start(master, TOTAL="60"), start(slave)]
    wait_for("jobs that wait", lambda: ground.ledger.ended().total() >= 20 and len(ground.ledger.running()) == 2)
    for one in running:
        one.signal(signal.SIGTERM)
        wait_for("that it heard it", lambda one=one: "the same signal again ends at once" in one.output)
    ground.let_go()
    ends = [unit.end_of(one.end()) for unit, one in zip((master, slave), running, strict=True)]

    assert ends == ["clean", "clean"], [one.output for one in running]

    running = [start(master, TOTAL="60"), start(slave)]
    ends = [unit.end_of(one.end()) for unit, one in zip((master, slave), running, strict=True)]

    assert ends == ["clean", "clean"], [one.output for one in running]
    assert set(ground.ledger.ended().values()) == {1}
    assert ground.ledger.ended().total() == 60

    running = [start(master, "broken"), start(slave, TASKMASTER_WAIT="0")]

    assert [one.end() for one in running] == [2, 6], [one.output for one in running]
    assert master.end_of(2) == slave.end_of(2) == "failed"
    assert slave.end_of(6) == slave.end_of(137) == master.end_of(1) == "restarted"
    assert [master.end_of(code) for code in (3, 4, 5, 75)] == ["failed", "failed", "failed", "clean"]
