"""What Kubernetes makes of a Job and of its pods, by the rules that it publishes.

``JobRules`` is the Job controller: how many pods there should be, what an exit code means, when the
Job is over. ``Cluster`` is the kubelet: it lays volumes, makes the command line, sends signals.
"""

from __future__ import annotations

import math
import os
import re
import signal
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.containers import Container, Machine

__all__ = ["Cluster", "JobRules", "Pod", "PodEnd"]


@dataclass(frozen=True)
class PodEnd:
    """How a pod ended.

    Attributes:
        code: Of its only container.
        disrupted: It was evicted or preempted, or its node was drained.
    """

    code: int
    disrupted: bool = False


@dataclass
class JobRules:
    """A Job: https://kubernetes.io/docs/concepts/workloads/controllers/job/.

    Attributes:
        spec: As in its manifest.
        succeeded: Pods that ended with 0.
        failed: Those that ended otherwise and count.
        active: Pods that run, or are being ended.
        condition: "Complete" or "Failed" as soon as it is.
    """

    spec: dict[str, Any]
    succeeded: int = 0
    failed: int = 0
    active: int = 0
    condition: str = ""

    def wanted(self) -> int:
        """How many pods are to be created now."""
        # Otherwise there would be another pod as soon as one is told to end.
        assert self.spec["podReplacementPolicy"] == "Failed"
        if self.condition or (self.succeeded and "completions" not in self.spec):
            return 0
        parallel = self.spec.get("parallelism", 1)
        left = self.spec.get("completions", 1) - self.succeeded if self._counted else parallel
        return max(0, min(parallel, left) - self.active)

    @property
    def _counted(self) -> bool:
        """Whether it is done when a given number of pods has succeeded; else it is a work queue."""
        return "completions" in self.spec or "parallelism" not in self.spec

    def ended(self, end: PodEnd) -> None:
        """Note the end of a pod."""
        self.active -= 1
        if not end.code:
            self.succeeded += 1
        elif (action := self.action(end)) == "FailJob":
            self.condition = "Failed"
        elif action == "Count":
            self.failed += 1
            if self.failed > self.spec["backoffLimit"]:
                self.condition = "Failed"
        if not self.condition and self.succeeded >= self.spec.get("completions", 1) and not self.active:
            self.condition = "Complete"

    def action(self, end: PodEnd) -> str:
        """What the first rule says that fits."""
        # Else the kubelet would start containers again, and no rule would ever be asked.
        assert self.spec["template"]["spec"]["restartPolicy"] == "Never"
        for rule in self.spec["podFailurePolicy"]["rules"]:
            if any(
                one["type"] == "DisruptionTarget" and one["status"] == "True" and end.disrupted
                for one in rule.get("onPodConditions", ())
            ):
                return rule["action"]
            if (codes := rule.get("onExitCodes")) and end.code:
                (container,) = self.spec["template"]["spec"]["containers"]
                assert codes["containerName"] == container["name"]
                if (end.code in codes["values"]) == (codes["operator"] == "In"):
                    return rule["action"]
        return "Count"


@dataclass
class Pod:
    """A pod that runs, for a Job."""

    job: JobRules
    container: Container
    disrupted: bool = False


@dataclass
class Cluster:
    """A node, its kubelet, and the controller of its Jobs.

    Attributes:
        machine: The node.
        directory: For volumes.
        secrets: Files of Secrets.
        common: What each container sees beside what its pod says.
        environment: What each container has beside what its pod says.
        pods: Those that run.
    """

    machine: Machine
    directory: Path
    secrets: dict[str, dict[str, bytes]]
    common: dict[str, Path]
    environment: dict[str, str]
    pods: list[Pod] = field(default_factory=list)
    _volumes: int = 0

    def reconcile(self, *jobs: JobRules) -> None:
        """Note what has ended, and start what should run."""
        for pod in [pod for pod in self.pods if pod.container.command.process.poll() is not None]:
            self.pods.remove(pod)
            pod.job.ended(PodEnd(pod.container.end(), pod.disrupted))
            if pod.job.condition:
                for other in [other for other in self.pods if other.job is pod.job]:
                    other.container.signal(signal.SIGTERM)
        for job in jobs:
            for _ in range(job.wanted()):
                job.active += 1
                self.pods.append(Pod(job, self._start(job.spec["template"]["spec"])))

    def of(self, job: JobRules) -> list[Pod]:
        """The pods of a Job that run."""
        return [pod for pod in self.pods if pod.job is job]

    def evict(self, pod: Pod) -> None:
        """Begin to end a pod, as when its node is drained."""
        pod.disrupted = True
        pod.container.signal(signal.SIGTERM)

    def execute(self, words: list[str], job: JobRules) -> Container:
        """Run a command as in the container of a Job's pod: a probe."""
        return self._start(job.spec["template"]["spec"], words)

    def _start(self, spec: dict[str, Any], words: list[str] | None = None) -> Container:
        (container,) = spec["containers"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = dict(self.common)
        for mount in container["volumeMounts"]:
            where = mount["mountPath"] + (":ro" if mount.get("readOnly") else "")
            mounts[where] = self._volume(volumes[mount["name"]], context["fsGroup"])
        environment = {one["name"]: self._value(one, container) for one in container.get("env", ())}

        def expanded(word: str) -> str:
            return re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], word)

        return self.machine.start(
            [expanded(word) for word in words or container["command"]],
            user=f"{context['runAsUser']}:{context['runAsGroup']}",
            groups=str(context["fsGroup"]),
            environment={**self.environment, **environment},
            mounts=mounts,
            read_only=container["securityContext"]["readOnlyRootFilesystem"],
        )

    def _value(self, variable: dict[str, Any], container: dict[str, Any]) -> str:
        if "value" in variable:
            return variable["value"]
        section, _, resource = variable["valueFrom"]["resourceFieldRef"]["resource"].partition(".")
        return str(math.ceil(float(container["resources"][section][resource])))

    def _volume(self, volume: dict[str, Any], group: int) -> Path:
        """Lay a volume as the kubelet does, with ``fsGroup``, whose all files are each time."""
        if "persistentVolumeClaim" in volume:
            place = self.directory / volume["persistentVolumeClaim"]["claimName"]
            place.mkdir(exist_ok=True)
            for path in (place, *place.rglob("*")):
                os.chown(path, -1, group)
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o2770 if path.is_dir() else 0o660))
            return place
        self._volumes += 1
        place = self.directory / f"volume-{self._volumes}"
        place.mkdir()
        if "emptyDir" in volume:
            place.chmod(0o2777)
            return place
        secret = volume["secret"]
        (inner := place / "..2026_11_29_02_22_00.123456789").mkdir(mode=0o755)
        (place / "..data").symlink_to(inner.name)
        for name, content in self.secrets[secret["secretName"]].items():
            (inner / name).write_bytes(content)
            os.chown(inner / name, 0, group)
            (inner / name).chmod(secret["defaultMode"] | 0o440)
            (place / name).symlink_to(f"..data/{name}")
        return place
