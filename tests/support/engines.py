"""Engines as the tests of the contract have them: each starts commands that run their slaves on
it.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from support.commands import BIN, Command, wait_for
from support.dask_cluster import DaskProcesses
from support.playground import Playground

__all__ = ["DaskEngine", "EngineOfTest", "PoolEngine", "RayEngine", "RayProcesses", "is_slave", "make_engine"]

POOLS = """
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

SIZE = int(os.environ.get("POOL", "2"))

def forked():
    return ProcessPoolExecutor(SIZE, mp_context=multiprocessing.get_context("fork"))

def spawned():
    return ProcessPoolExecutor(SIZE, mp_context=multiprocessing.get_context("spawn"))

def threads():
    return ThreadPoolExecutor(SIZE)

def loky():
    from loky import ProcessPoolExecutor
    return ProcessPoolExecutor(SIZE)
"""


def fake_machines(number: int) -> str:
    """Return the configuration by which Ray's autoscaler adds at most ``number`` nodes of one CPU,
    all on this machine. A node goes when it has been idle for some seconds.
    """
    of_provider = ("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check")
    kinds = {"head": (1, 0), "added": (1, number)}
    return json.dumps(
        {
            "cluster_name": "fake",
            "max_workers": number,
            "upscaling_speed": 100.0,
            "idle_timeout_minutes": 0.1,
            "provider": {"type": "fake_multinode", **dict.fromkeys(of_provider, True)},
            "available_node_types": {
                "ray.head.default" if kind == "head" else kind: {
                    "resources": {"CPU": cpus, "object_store_memory": 80_000_000},
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": most,
                }
                for kind, (cpus, most) in kinds.items()
            },
            "head_node_type": "ray.head.default",
            **{name: {} for name in ("docker", "file_mounts")},
            "auth": {"ssh_user": "nobody"},
            "file_mounts_sync_continuously": False,
            **{
                name: []
                for name in (
                    *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands"),
                    *("setup_commands", "head_setup_commands", "worker_setup_commands"),
                    *("head_start_ray_commands", "worker_start_ray_commands"),
                )
            },
        }
    )


def is_slave(line: str) -> bool:
    """Whether a command line is that of a slave on an engine."""
    return "-m taskmaster.slave" in line


class EngineOfTest:
    """An engine with two workers.

    Args:
        playground: Where the commands run.
        words: What names the engine on the command line.
    """

    def __init__(self, playground: Playground, *words: str) -> None:
        self.playground = playground
        self.words = words

    def start(self, *words: str, **environment: str) -> Command:
        """Start a command whose slaves run on the engine."""
        return self.playground.start(words[0], words[1], *self.words, *words[2:], **environment)

    def run(self, *words: str, **environment: str) -> Command:
        """Start such a command, and wait for its end."""
        command = self.start(*words, **environment)
        command.end()
        return command

    def slaves(self) -> list[int]:
        """The slaves that run."""
        return [pid for pid, line in self.playground.left().items() if is_slave(line) and _is_first(pid)]

    def hosts(self) -> set[int]:
        """The engine's workers in which slaves run."""
        found = set()
        for pid in self.slaves():
            with suppress(psutil.NoSuchProcess):  # it ends just now
                found.add(psutil.Process(pid).ppid())
        return found

    def log(self, run: Command) -> str:
        """What the engine's workers have written: those of a pool, where its command writes."""
        return run.output

    def wait_for_no_slaves(self) -> None:
        """Until none is left."""
        wait_for("the slaves to end", lambda: not self.slaves())

    def close(self) -> None:
        """End what the playground does not."""


class PoolEngine(EngineOfTest):
    """A pool of the command itself.

    Args:
        playground: Where the commands run.
        kind: Which function of ``pools.py`` makes it.
    """

    def __init__(self, playground: Playground, kind: str) -> None:
        playground.write("pools.py", POOLS)
        super().__init__(playground, f"--engine=pools.py:{kind}")


class DaskEngine(EngineOfTest):
    """A cluster of Dask's, with two workers of one thread."""

    def __init__(self, playground: Playground) -> None:
        self.cluster = DaskProcesses(playground)
        super().__init__(playground, "--engine=dask", f"--scheduler={self.cluster.address}")

    def log(self, _run: Command) -> str:
        """What the cluster has written."""
        return self.cluster.output

    def close(self) -> None:
        """End its processes."""
        self.cluster.close()


class RayProcesses:
    """Ray on one node with two CPUs, in a network namespace of its own: it listens on every
    interface.

    Args:
        directory: For what it prints.
        address: Of the node.
        adds: Nodes of one CPU that its autoscaler may add; the first one then has one CPU, too.
        environment: Of its processes.
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1", adds: int = 0, **environment: str) -> None:
        self._playground = Playground(directory)
        self._files = tempfile.mkdtemp(prefix="ray-")  # a short path: there are sockets in it
        self.address = address
        self._environment = {"RAY_DEDUP_LOGS": "0", "PYTHONWARNINGS": "ignore", **environment}
        words = f"--head --include-dashboard=false --disable-usage-stats --temp-dir={self._files}"
        self._cpus = 2
        if adds:
            self._environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            path = self._playground.write("autoscaler.json", fake_machines(adds))
            words += f" --autoscaling-config={path}"
            self._cpus = 1
        unshare = shutil.which("unshare") or "unshare"
        self._process = self._start([unshare, "--net"], f"ip link set lo up && {self._line(address, words)}")
        self.prefix = (shutil.which("nsenter") or "nsenter", f"--net=/proc/{self._process.pid}/ns/net")

    def add_node(self, address: str) -> None:
        """Start another node, which has another address of this machine."""
        self._start(self.prefix, self._line(address, f"--address={self.address}:6379"))

    def _line(self, address: str, words: str) -> str:
        own = f"ip address replace {address}/32 dev lo && exec {BIN / 'ray'} start --block --num-cpus={self._cpus}"
        return f"{own} --node-ip-address={address} {words}"

    def _start(self, prefix: Sequence[str], line: str) -> Command:
        process = self._playground.start(*prefix, "sh", "-c", line, **self._environment)
        process.wait_for_output("Ray runtime started", 120.0)
        return process

    @property
    def log(self) -> str:
        """What its workers have written."""
        files = Path(self._files).glob("session_latest/logs/worker-*")
        return "\n".join(file.read_text("utf-8", "replace") for file in files)

    def nodes(self) -> int:
        """How many nodes it has."""
        return sum("raylet/raylet" in line for line in self._playground.left().values())

    def kill(self) -> None:
        """End the head, and all else on its node."""
        with suppress(ProcessLookupError):
            self._process.signal_group(signal.SIGKILL)

    def close(self) -> None:
        """End all its processes; at a SIGTERM, it would drain its node for half a minute."""
        self.kill()
        self._playground.close()
        shutil.rmtree(self._files, ignore_errors=True)


class RayEngine(EngineOfTest):
    """A cluster of Ray's, which tests share.

    Args:
        playground: Where the commands run.
        cluster: Its processes.
    """

    def __init__(self, playground: Playground, cluster: RayProcesses) -> None:
        self._cluster = cluster
        # Its workers have the environment of Ray, not that of the command.
        variables = [f"--env={name}={value}" for name, value in playground.environment.items()]
        super().__init__(playground, "--engine=ray", *variables)

    def start(self, *words: str, **environment: str) -> Command:
        """Start a command in Ray's network."""
        return self.beside(words[0], words[1], *self.words, *words[2:], **environment)

    def log(self, _run: Command) -> str:
        """What Ray's workers have written."""
        return self._cluster.log

    def beside(self, command: str, *words: str, **environment: str) -> Command:
        """Start another command in Ray's network."""
        return self.playground.start(*self._cluster.prefix, str(BIN / command), *words, **environment)


def make_engine(kind: str, playground: Playground) -> EngineOfTest:
    """An engine by its name."""
    return DaskEngine(playground) if kind == "dask" else PoolEngine(playground, kind)


def _is_first(pid: int) -> bool:
    """Whether it is a slave, and none of its workers, which are forks of it."""
    try:
        parent = psutil.Process(pid).parent()
        return parent is None or not is_slave(" ".join(parent.cmdline()))
    except psutil.NoSuchProcess:
        return False
