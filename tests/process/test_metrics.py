"""The metrics that a real run leaves: as Prometheus' own tools read them, and true."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client import parser
from support.commands import wait_for
from support.playground import PREAMBLE, Playground

import taskmaster.view
from taskmaster.control import Run

JOBS = """
def get_jobs(last=-1):
    yield from range(last + 1, 200)

def count_jobs():
    return 200

def handle_job(n):
    while n == 199 and not os.path.exists("enough"):
        time.sleep(0.02)
    if n % 40 == 7:
        raise KeyError(n)
"""
pytestmark = pytest.mark.slow

SCHEMA = json.loads(Path(taskmaster.view.__file__).with_name("status.schema.json").read_text("utf-8"))


def metrics_in(place: Path) -> dict[tuple[str, ...], float]:
    """The series in a file, by name and labels other than the target and the run."""
    found = {}
    for family in parser.text_string_to_metric_families(place.read_text()):
        for one in family.samples:
            assert one.labels.pop("target").endswith("work.py")
            assert one.labels.pop("run")
            found[one.name, *one.labels.values()] = one.value
    return found


def test_a_run_leaves_its_metrics_and_says_the_same_everywhere(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it goes on and when it has ended; and whoever asks for the status gets what the schema
    says: ``tm-ctl``, a script, and ``--progress=json``.
    """
    monkeypatch.setenv("TASKMASTER_HOME", playground.environment["TASKMASTER_HOME"])
    playground.write("work.py", PREAMBLE + JOBS)
    place = playground.directory / "tm.prom"
    run = playground.start(
        "tm-run",
        "work.py",
        "2",
        "--retries=1",
        "--backoff=0.01",
        "--progress=json",
        f"--metrics-file={place}",
        TASKMASTER_CRASHES="3",
    )
    wait_for("the metrics", place.exists)
    assert metrics_in(place)["taskmaster_state", "finished"] == 0
    with Run(playground.directory / "work.tmstate") as control:
        wait_for("all but one", lambda: control.status()["settled"] >= 199)
        wait_for("a job to be long", lambda: bool(control.status()["longest"]))
        control.pause("deploy")
        found: dict[str, Any] = control.status()
        history = control.history()
        kinds = control.kinds()
        slaves = control._client.look("slaves", most=1, sort="rate")
        control.resume()
    told = json.loads(playground.run("tm-ctl", "status", "work.py", "--json").output)
    playground.write("enough", "")
    assert run.end() == 3, run.output

    lines = [json.loads(line) for line in run.output.splitlines() if line.startswith("{")]
    for status in (found, told, *(line for line in lines if line["event"] == "progress")):
        jsonschema.validate(status, SCHEMA)
    assert found["longest"][0]["key"] == "199"
    assert (found["done"], found["failed"], found["attempts_failed"]["exception"]) == (194, 5, 10)
    assert (found["hold"]["reason"], found["kinds"][0]["count"]) == ("deploy", 5)
    assert found["kinds"][0]["where"].startswith("work.py:")
    assert found["resume"].startswith("tm-run work.py 2")
    sources = {row["name"]: row["source"] for row in found["settings"]}
    assert (sources["retries"], sources["size"], sources["crashes"]) == ("command line", "default", "environment")
    assert kinds[0]["type"] == "KeyError"
    assert len(slaves["rows"]) == slaves["slaves"] == 1
    assert history["rows"][-1][history["columns"].index("settled")] >= 100
    last = metrics_in(place)
    assert last["taskmaster_state", "finished"] == 1
    assert last["taskmaster_jobs_settled_total", "done"] == 195
    assert last["taskmaster_attempts_failed_total", "exception"] == 10
    assert last["taskmaster_held_seconds_total", "paused"] > 0
    assert last["taskmaster_steered_total", "pause"] == 1
    if shutil.which("promtool") is not None:  # comes with Prometheus
        checked = subprocess.run(["promtool", "check", "metrics"], input=place.read_bytes(), capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


# A master that was killed, by its file and by its page; and a run that has ended: that is no alert.
KILLED = """
rule_files: [RULES]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {series: 'taskmaster_status_timestamp_seconds{job="n",run="1"}', values: '0x60'}
      - {series: 'taskmaster_state{job="n",run="1",state="running"}', values: '1x60'}
      - {series: 'taskmaster_state{job="n",run="1",state="finished"}', values: '0x60'}
      - {series: 'taskmaster_status_timestamp_seconds{job="n",run="2"}', values: '0x60'}
      - {series: 'taskmaster_state{job="n",run="2",state="finished"}', values: '1x60'}
      - {series: 'taskmaster_state{job="t",instance="b",state="running"}', values: '1x8 stale _x60'}
      - {series: 'up{job="t",instance="b"}', values: '1x8 0x60'}
    promql_expr_test:
      - expr: count by (alertname, run, instance) (ALERTS{alertstate="firing"})
        eval_time: 5m
        exp_samples:
          - {labels: '{alertname="TaskmasterSilent", run="1"}', value: 1}
          - {labels: '{alertname="TaskmasterGone", instance="b"}', value: 1}
"""


def test_the_alert_rules_are_rules(tmp_path: Path) -> None:
    """As Prometheus reads them, where its tools are; a master that was killed is no silence."""
    rules = Path(__file__).resolve().parents[2] / "examples" / "monitoring" / "alerts.yml"
    if shutil.which("promtool") is not None:
        checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        (tmp_path / "killed.yml").write_text(KILLED.replace("RULES", json.dumps(str(rules))))
        checked = subprocess.run(["promtool", "test", "rules", str(tmp_path / "killed.yml")], capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert rules.read_text("utf-8").count("- alert:") == 10


@pytest.mark.parametrize("where", ["no/such/tm.prom", "."])
def test_a_file_that_cannot_be_had_ends_it_before_it_begins(playground: Playground, where: str) -> None:
    """With 2 and the cure; no state is made."""
    playground.write("work.py", PREAMBLE + JOBS)
    ended = playground.run("tm-run", "work.py", "2", f"--metrics-file={where}")

    assert ended.process.returncode == 2, ended.output
    assert "--metrics-file is" in ended.output
    assert not list(playground.directory.glob("*.tmstate"))


TIMES = """
import asyncio

def get_jobs(last=-1):
    yield from range(last + 1, 60)

def seconds(n):
    return 0.5 if n == 30 else 0.02
"""
TIMED = {
    "processes": (TIMES + "def handle_job(n):\n    time.sleep(seconds(n))\n", ["1"]),
    "threads": (TIMES + "def handle_job(n):\n    time.sleep(seconds(n))\n", ["1", "--threads=6"]),
    "coroutines": (TIMES + "async def handle_job(n):\n    await asyncio.sleep(seconds(n))\n", ["1"]),
    "in this process": (TIMES + "def handle_job(n):\n    time.sleep(seconds(n))\n", ["--processes=0"]),
}


@pytest.mark.parametrize("mode", TIMED)
def test_each_job_has_its_own_time(playground: Playground, mode: str) -> None:
    """However many are in a batch, and however many run at once: none is faster than it was, and
    the slow one is seen.
    """
    body, words = TIMED[mode]
    playground.write("work.py", PREAMBLE + body)
    place = playground.directory / "tm.prom"
    run = playground.run("tm-run", "work.py", *words, "--batch=20", "--progress=none", f"--metrics-file={place}")
    assert run.process.returncode == 0, run.output

    found = {name: value for name, value in metrics_in(place).items() if name[0].startswith("taskmaster_job_duration")}
    below = {float(name[1]): value for name, value in found.items() if name[0].endswith("_bucket")}
    assert below[0.016384] == 0
    assert below[0.262144] <= 59
    assert found["taskmaster_job_duration_seconds_count",] == 60
    assert found["taskmaster_job_duration_seconds_sum",] >= 59 * 0.02 + 0.5
