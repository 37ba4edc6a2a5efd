"""A real Slurm of one node, in namespaces of its own: its daemons, ports and processes are nobody
else's, and end with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.commands import BIN, children_of, wait_for
from support.playground import Playground

__all__ = ["Slurm", "cannot_queue"]

# Where its programs are that are not for users.
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
# What is requeued waits for the end of the credentials that it had, 2 minutes without cred_expire.
CONFIGURATION = """
ClusterName=lab
SlurmctldHost=node1(10.77.7.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=PLACE/munge.socket,cred_expire=5
StateSaveLocation=PLACE/state
SlurmdSpoolDir=PLACE/spool
SlurmctldPidFile=PLACE/slurmctld.pid
SlurmdPidFile=PLACE/slurmd.pid
SlurmctldLogFile=PLACE/slurmctld.log
SlurmdLogFile=PLACE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName=node1 NodeAddr=10.77.7.1 CPUs=16 RealMemory=500 State=UNKNOWN
PartitionName=lab Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""
DAEMONS = """
set -e
ip link set lo up
# Slurm resolves no name, not even a number, where there is nothing but the loopback.
ip link add eth0 type veth peer name eth1
ip address add 10.77.7.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
hostname node1
mount --make-rprivate /
mount --bind "$PLACE/hosts" /etc/hosts
munged --force --socket="$PLACE/munge.socket" --key-file="$PLACE/munge.key" --pid-file="$PLACE/munged.pid" \
    --seed-file="$PLACE/munged.seed" --log-file="$PLACE/munged.log"
slurmctld
slurmd
echo up
exec sleep 300
"""


def cannot_queue() -> str:
    """Why there can be no Slurm; "" if there can."""
    path = f"{os.environ['PATH']}:{SYSTEM}"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "ip") if not shutil.which(name, path=path)]
    if os.geteuid() or missing:
        return f"Slurm is started by root, with {', '.join(missing) or 'what is there'}: apt install slurm-wlm munge"
    return ""


class Slurm:
    """A queue and the only node of it.

    Args:
        playground: Ends what is left of it; jobs work in its directory.
    """

    def __init__(self, playground: Playground) -> None:
        self._directory = playground.directory
        place = playground.directory / "slurm"
        for name in ("state", "spool"):
            (place / name).mkdir(parents=True)
        (place / "slurm.conf").write_text(CONFIGURATION.replace("PLACE", str(place)))
        (place / "hosts").write_text("127.0.0.1 localhost\n10.77.7.1 node1\n")
        (place / "munge.key").write_bytes(os.urandom(128))
        (place / "munge.key").chmod(0o600)
        self._environment = {
            **playground.environment,
            "PATH": f"{BIN}:{os.environ['PATH']}:{SYSTEM}",
            "PLACE": str(place),
            "SLURM_CONF": str(place / "slurm.conf"),
        }
        namespaces = ["--net", "--mount", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]
        self._node = playground.start("/usr/bin/unshare", *namespaces, "sh", "-c", DAEMONS, **self._environment)
        self._node.wait_for_output("up")
        self._inside = wait_for("the node", lambda: children_of(self._node.pid))[0]  # type: ignore[index]
        wait_for("an idle node", lambda: self.run("sinfo", "--noheader", "--format=%t") == "idle")

    def run(self, *words: str, **environment: str) -> str:
        """Run a command on the node; return what it has printed."""
        enter = ["nsenter", f"--target={self._inside}", "--net", "--mount", "--uts", "--pid"]
        done = subprocess.run(
            [*enter, f"--wd={self._directory}", *words],
            env={**os.environ, **self._environment, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: Path, *options: str, **environment: str) -> str:
        """Queue a script; return the number of the job."""
        return self.run("sbatch", "--parsable", *options, str(script), **environment)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job, or of a task of an array."""
        text = self.run("scontrol", "--oneliner", "show", "job", number)
        return dict(word.partition("=")[::2] for word in text.split())
