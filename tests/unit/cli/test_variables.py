"""Variables that look like options, and are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskmaster.cli.variables import unknown_variables
from taskmaster.runner.notifiers import environment_of

ROOT = Path(__file__).parents[3]
SLIPS = {f"TASKMASTER_{name}" for name in ("", "NAME", "FOO", "A", "B", "RETRYS")}  # and what stands for any name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RETRYS", "RETRIES"),
        ("GRACEE", "GRACE"),
        ("JOB_TIME_OUT", "JOB_TIMEOUT"),
        ("MAXFAILURES", "MAX_FAILURES"),
        ("WORKERS", "PROCESSES"),
        ("retries", ""),
        ("COLOUR", ""),
    ],
)
def test_a_variable_that_nothing_knows_is_said_with_what_may_be_meant(name: str, meant: str) -> None:
    """By likeness, or because other tools call it so."""
    said = unknown_variables(["HOME", f"TASKMASTER_{name}", "TASKMASTER_SIZE"])

    shown = f"TASKMASTER_{name} (did you mean TASKMASTER_{meant}?)" if meant else f"TASKMASTER_{name}"
    assert said == f"The environment has {shown}, which is no option and is not read."


def test_all_of_them_are_one_sentence() -> None:
    """They come at the start, where somebody reads."""
    said = unknown_variables(["TASKMASTER_B", "TASKMASTER_RETRYS", "TASKMASTER_A"])

    assert said.startswith("The environment has TASKMASTER_A, TASKMASTER_B, TASKMASTER_RETRYS (did you mean")
    assert said.endswith("which are no options and are not read.")


def test_variables_of_the_product_are_known() -> None:
    """All that its code, tests and documents use, and what a command of --notify is given."""
    folders = ("taskmaster", "tests", "docs", "benchmarks", "examples")
    files = [ROOT / "README.rst", *(path for folder in folders for path in (ROOT / folder).rglob("*.*"))]
    texts = [path.read_text("utf-8") for path in files if path.suffix in (".py", ".rst", ".toml", ".sh", ".yml")]
    used = {name for text in texts for name in re.findall(r"\bTASKMASTER_[A-Z_]*\b", text)} - SLIPS
    event = dict.fromkeys(("event", "run", "target", "state_file", "state", "reason", "text", "settled", "failed"))
    event |= dict.fromkeys(("total", "eta", "elapsed", "resume"))

    assert {"TASKMASTER_KEY", "TASKMASTER_HOME", "TASKMASTER_TEST"} < used
    assert unknown_variables(used | set(environment_of(event))) == ""


@pytest.mark.parametrize(
    "name",
    [
        "SERVICE_HOST",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_5050_TCP",
        "PORT_5050_TCP_ADDR",
        "PAGE_SERVICE_PORT",
        "NAME",
        "ENV_PATH",
    ],
)
def test_variables_that_kubernetes_and_docker_set_are_no_slips(name: str) -> None:
    """For a service that is called taskmaster, or taskmaster-page."""
    assert unknown_variables([f"TASKMASTER_{name}"]) == ""
