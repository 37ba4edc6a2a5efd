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
import pytest
import yaml
from support.units import Unit

from taskmaster.cli.ctl import tm_ctl
from taskmaster.cli.master import tm_master
from taskmaster.cli.slave import tm_slave
from taskmaster.options.commands import SlaveOptions

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "examples" / "deploy"
COMMANDS: dict[str, click.Command] = {"tm-master": tm_master, "tm-slave": tm_slave, "tm-ctl": tm_ctl}
GRACE = SlaveOptions().grace
UNITS = [Unit(DEPLOY / "systemd" / f"tm-{name}@.service") for name in ("master", "slave")]


def compose() -> dict[str, Any]:
    """The compose file."""
    return yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())


def commands() -> dict[str, list[str]]:
    """Every command of Taskmaster's in the files, by where it stands."""
    image = re.search(r"^CMD (.*)$", (DEPLOY / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    found = {"Dockerfile": json.loads(image[1])}  # type: ignore[index]
    found |= {f"compose {name}": service["command"] for name, service in compose()["services"].items()}
    found |= {unit["ExecStart"]: unit.command("backfill", dict.fromkeys(PLACES, "/run")) for unit in UNITS}
    return found


PLACES = ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")


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


def test_running_jobs_have_their_time() -> None:
    """Whatever ends a command waits for longer than it takes to end."""
    assert {unit.stop_seconds > GRACE for unit in UNITS} == {True}
    for service in compose()["services"].values():
        assert float(service["stop_grace_period"].removesuffix("s")) > GRACE


def test_the_comments_tell_commands_that_there_are() -> None:
    """What a reader is to type is understood, too."""
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            for line in re.findall(r"^#? +(?:\$ )?(tm-[a-z]+ .*)$", path.read_text("utf-8"), re.MULTILINE):
                words = shlex.split(line.partition(" && ")[0], comments=True)
                COMMANDS[words[0]].make_context(words[0], words[1:])
