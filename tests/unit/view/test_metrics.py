"""Metrics as Prometheus reads them: by its own parser, in both formats, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import parser as plain
from prometheus_client.openmetrics import parser as open_metrics

from taskmaster.master.steering.request import Command
from taskmaster.view.metrics import STEERING_COMMANDS, metrics

OPEN = "application/openmetrics-text; version=1.0.0"
STATUS: dict[str, Any] = {
    "run": "3f2a", "target": "backfill.py", "release": "1.0.0", "state": "throttled",
    "settled": 30, "failed": 2, "skipped": 3, "done": 25, "total": 120, "share": None,
    "settled_by_outcome": {"done": 5, "failed": 1, "skipped": 0},
    "queued": 7, "leased": 4, "waiting": 1, "parked": 2, "slaves": 3, "workers": 6, "workers_busy": 4,
    "retries": 9, "attempts_failed": {"exception": 8, "crash": 1, "timeout": 0, "lost": 2},
    "clock": {"held_seconds": {
        "paused": 1.5, "throttled": 40.0, "rate": 0.0, "source": 0.0, "slaves": 2.0, "state": 0.0,
    }},
    "eta_detail": {"seconds": 77.5}, "source": {"read": 44}, "queue": {"most": 10000},
    "span": {"now": 14, "most": 100000},
    "checkpoint": {"age_seconds": 0.2, "took_seconds": 0.004, "failing_seconds": 0.0}, "watermark_age_seconds": 3.0,
    "job_seconds": {"count": 30, "sum": 1.25, "buckets": [[1e-6, 0], [4e-6, 10], [1.6e-5, 30]]},
    "rate_limit": 200.0, "pace": {"share": 0.34, "probe_seconds": 0.0029, "allowed_seconds": None},
    "guards": [{"name": "lag", "value": 7.2, "limit": 5.0}, {"name": "lag", "value": None, "limit": 3}],
    "steered": {"pause": 2, "resume": 1}, "slaves_lost": 1, "slaves_refused": 0, "memory_bytes": 50_000_000,
    "cpu_seconds": 12.5,
}  # fmt: skip


def samples(status: dict[str, Any] | None = None, up: bool = True, accept: str = "") -> dict[tuple[str, ...], float]:
    """What Prometheus' own parser makes of it, by name and values of labels."""
    content_type, text = metrics(STATUS if status is None else status, up, accept)
    parse = open_metrics if content_type.startswith("application/openmetrics-text") else plain
    families = list(parse.text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.mark.parametrize("accept", ["", OPEN])
def test_prometheus_reads_what_the_status_has(accept: str) -> None:
    """In the text format and in OpenMetrics: counters of the session, gauges of the run."""
    found = samples(accept=accept)

    for name, value in {
        ("taskmaster_up",): 1,
        ("taskmaster_run_info", "1.0.0", "3f2a", "backfill.py"): 1,
        ("taskmaster_jobs_settled_total", "failed"): 1,
        ("taskmaster_run_jobs", "skipped"): 3,
        ("taskmaster_progress_ratio",): 0.25,
        ("taskmaster_eta_seconds",): 77.5,
        ("taskmaster_jobs", "queued"): 7,
        ("taskmaster_attempts_failed_total", "lost"): 2,
        ("taskmaster_state", "throttled"): 1,
        ("taskmaster_state", "running"): 0,
        ("taskmaster_held_seconds_total", "throttled"): 40,
        ("taskmaster_steered_total", "pause"): 2,
        ("taskmaster_steered_total", "stop"): 0,
        ("taskmaster_guard_value", "lag"): 7.2,
        ("taskmaster_guard_limit", "lag (2)"): 3,
        ("taskmaster_job_duration_seconds_count",): 30,
        ("taskmaster_job_duration_seconds_sum",): 1.25,
        ("taskmaster_rate_limit",): 200,
        ("taskmaster_pace_ratio",): 0.34,
        ("taskmaster_probe_seconds",): 0.0029,
        ("taskmaster_master_cpu_seconds_total",): 12.5,
    }.items():
        assert found[name] == value, name
    assert ("taskmaster_guard_value", "lag (2)") not in found


def test_what_is_not_known_is_left_out() -> None:
    """A run without a total, and a master of an older release that says little."""
    found = samples({**STATUS, "total": None, "eta_detail": {"seconds": None}, "rate_limit": None, "guards": []})
    names = {name for name, *_ in found}

    assert not names & {
        "taskmaster_jobs_expected", "taskmaster_progress_ratio", "taskmaster_eta_seconds", "taskmaster_rate_limit",
        "taskmaster_guard_limit",
    }  # fmt: skip
    assert samples({"state": "running", "settled": 5, "failed": 0})[("taskmaster_state", "running")] == 1


def test_runs_of_one_machine_are_told_apart_in_a_file() -> None:
    """By the target and the run, which each series has: two of one target differ in the run alone,
    and node_exporter refuses the same series twice.
    """
    _, text = metrics(STATUS, up=True, with_target=True)
    found = [one for family in plain.text_string_to_metric_families(text.decode()) for one in family.samples]

    assert {(one.labels["target"], one.labels["run"]) for one in found} == {("backfill.py", "3f2a")}
    assert len(found) == len(samples())


@pytest.mark.parametrize("status", [STATUS, {}])
def test_a_master_that_does_not_answer_is_down_and_nothing_else(status: dict[str, Any]) -> None:
    """What it said last is not what is so."""
    assert samples(status, up=False) == {("taskmaster_up",): 0.0}
    assert samples({}, up=True) == {("taskmaster_up",): 0.0}


def test_the_number_of_series_does_not_grow_with_the_run() -> None:
    """A thousand slaves, and failures of as many kinds, in no label; and names that would break a
    label.
    """
    hostile = 'a"b\\c\nd\x1b[31m\u202e' + "x" * 5000
    kinds = [{"type": f"E{number}", "where": hostile, "count": 1} for number in range(1000)]
    crowded = {**STATUS, "slaves": 1000, "kinds": kinds, "target": hostile, "state": "a state of tomorrow"}
    found = samples(crowded)

    assert len(found) == len(samples()) <= 100
    assert len(metrics(crowded, up=True)[1]) < 16 * 1024


def test_requests_are_counted_for_each_command() -> None:
    """A command that steers, and that is new, is counted, too."""
    assert tuple(Command) == STEERING_COMMANDS
