"""The files of ``examples/deploy``, as far as they can be read: schemas, commands, codes, times."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from support.kubernetes import JobRules, PodEnd
from support.units import Unit

from taskmaster.cli.ctl import tm_ctl
from taskmaster.cli.master import tm_master
from taskmaster.cli.slave import tm_slave
from taskmaster.options.commands import SlaveOptions

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "examples" / "deploy"
COMMANDS: dict[str, click.Command] = {"tm-master": tm_master, "tm-slave": tm_slave, "tm-ctl": tm_ctl}
GRACE = SlaveOptions().grace
KILL_WAIT = 30.0  # of Slurm, if nobody has set it
# What the scripts leave to the shell.
OF_SHELL = {"$(cat master.address)": "node1:5050", "$SLURM_CPUS_PER_TASK": "4", "${RUN_TIME:-3h55m}": "3h55m"}
PLACES = ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")
UNITS = [Unit(DEPLOY / "systemd" / f"tm-{name}@.service") for name in ("master", "slave")]


def compose() -> dict[str, Any]:
    """The compose file."""
    return yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())


def manifests() -> list[dict[str, Any]]:
    """All that is given to Kubernetes."""
    texts = [path.read_text() for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def jobs() -> dict[str, dict[str, Any]]:
    """The Jobs of Kubernetes, by the name of their container."""
    found = [document["spec"] for document in manifests() if document["kind"] == "Job"]
    return {spec["template"]["spec"]["containers"][0]["name"]: spec for spec in found}


def commands() -> dict[str, list[str]]:
    """Every command of Taskmaster's in the files, by where it stands."""
    image = re.search(r"^CMD (.*)$", (DEPLOY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    found = {"Dockerfile": json.loads(image[1])}  # type: ignore[index]
    found |= {f"compose {name}": service["command"] for name, service in compose()["services"].items()}
    found |= {unit["ExecStart"]: unit.command("backfill", dict.fromkeys(PLACES, "/run")) for unit in UNITS}
    for name, spec in jobs().items():
        (container,) = spec["template"]["spec"]["containers"]
        found[f"kubernetes {name}"] = [word.replace("$(CPUS)", "2") for word in container["command"]]
    for script in (DEPLOY / "slurm").glob("*.sbatch"):
        (line,) = re.findall(r"^ *(tm-.*) &$", script.read_text(), re.MULTILINE)
        for given, value in OF_SHELL.items():
            line = line.replace(given, value)
        found[script.name] = shlex.split(line)
    probe = jobs()["master"]["template"]["spec"]["containers"][0]["readinessProbe"]["exec"]
    return {**found, "kubernetes probe": probe["command"]}


@pytest.mark.parametrize(("where", "words"), commands().items(), ids=lambda value: str(value)[:30])
def test_the_commands_are_understood(where: str, words: list[str]) -> None:
    """With all their options."""
    name = Path(words[0]).name
    COMMANDS[name].make_context(name, words[1:])


def test_the_compose_file_is_one() -> None:
    """By the schema of the Compose Specification, which knows of nothing else."""
    place = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(place.read_text("utf-8"))

    jsonschema.validate(compose(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose(), "servces": {}}, schema)


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("number", range(len(manifests())))
def test_the_manifests_are_some(version: str, number: int) -> None:
    """By the schemas of Kubernetes' API, the oldest that has all of it and the newest; they know of
    nothing else.
    """
    document = manifests()[number]
    kubernetes_validate.validate(document, version, strict=True)
    document["spec"]["parallelsm"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_manifests_belong_together() -> None:
    """The service finds the master, at the port that it listens on; pods find key and state."""
    kinds = {document["kind"]: document for document in manifests()}
    service = kinds["Service"]
    (port,) = service["spec"]["ports"]
    template = jobs()["master"]["template"]
    (container,) = template["spec"]["containers"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {port["targetPort"]: port["port"]}
    assert f"--host=0.0.0.0:{port['port']}" in container["command"]
    (slave,) = jobs()["slave"]["template"]["spec"]["containers"]
    assert f"--host={service['metadata']['name']}:{port['port']}" in slave["command"]
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in template["spec"]["volumes"]]
    assert kinds["PersistentVolumeClaim"]["metadata"]["name"] in claims


@pytest.mark.parametrize(
    ("name", "end", "condition", "failed", "wanted"),
    [
        ("master", PodEnd(0), "Complete", 0, 0),
        ("master", PodEnd(1), "", 1, 1),
        *[("master", PodEnd(code), "Failed", 0, 0) for code in (2, 3, 4, 5)],
        ("master", PodEnd(75), "", 1, 1),
        ("master", PodEnd(137), "", 1, 1),
        ("master", PodEnd(143), "", 1, 1),
        ("master", PodEnd(143, disrupted=True), "", 0, 1),
        ("slave", PodEnd(0), "", 0, 0),
        ("slave", PodEnd(2), "Failed", 0, 0),
        ("slave", PodEnd(6), "", 1, 1),
        ("slave", PodEnd(137), "", 1, 1),
        ("slave", PodEnd(137, disrupted=True), "", 0, 1),
        ("slave", PodEnd(143), "", 0, 1),
    ],
)
def test_kubernetes_goes_on_where_that_helps(name: str, end: PodEnd, condition: str, failed: int, wanted: int) -> None:
    """What no other pod cures fails the Job; what was meant is no failure."""
    job = JobRules(jobs()[name])
    job.active = job.wanted()

    job.ended(end)

    assert (job.condition, job.failed, job.wanted()) == (condition, failed, wanted)


def test_the_slaves_are_done_when_the_run_is() -> None:
    """The first that says so is the last to be started; the Job is complete when all have ended."""
    job = JobRules(jobs()["slave"])
    job.active = job.wanted()
    assert job.active == 4
    for code in (0, 143, 0):
        job.ended(PodEnd(code))
        assert (job.condition, job.wanted()) == ("", 0)

    job.ended(PodEnd(0))

    assert job.condition == "Complete"


def test_running_jobs_have_their_time() -> None:
    """Whatever ends a command waits for longer than it takes to end."""
    assert {unit.stop_seconds > GRACE for unit in UNITS} == {True}
    for script in (DEPLOY / "slurm").glob("*.sbatch"):
        assert "--grace=25 " in script.read_text()
    assert KILL_WAIT > 25
    for service in compose()["services"].values():
        assert float(service["stop_grace_period"].removesuffix("s")) > GRACE
    assert {job["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE for job in jobs().values()} == {True}


def test_the_comments_tell_commands_that_there_are() -> None:
    """What a reader is to type is understood, too."""
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            for line in re.findall(r"^# +(tm-[a-z]+ .*)$", path.read_text("utf-8"), re.MULTILINE):
                words = shlex.split(line.partition(" && ")[0], comments=True)
                COMMANDS[words[0]].make_context(words[0], words[1:])
