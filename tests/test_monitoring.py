"""The metrics that are exported, and what names them: the page, the alert rules, the dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from taskmaster.view.metrics import metrics

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "monitoring"
NAME = re.compile(r"\btaskmaster_[a-z0-9_]+")


def example(schema: dict[str, Any]) -> Any:
    """A value as a JSON Schema has it, with all that may be there."""
    if "oneOf" in schema:
        return example(schema["oneOf"][-1])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "number")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        items = schema["items"]
        return [example(items) if "prefixItems" not in items else [1.0, 1]]
    return {"integer": 1, "number": 1.0, "boolean": True}.get(kind, "x")


def families() -> list[Any]:
    """All that can be exported, of a status with everything in it."""
    schema = json.loads((ROOT / "taskmaster" / "view" / "status.schema.json").read_text("utf-8"))
    _, text = metrics(example(schema), up=True)
    return list(parser.text_string_to_metric_families(text.decode()))


def exported() -> set[str]:
    """The names of all series."""
    return {sample.name for family in families() for sample in family.samples}


def labels() -> dict[str, set[str]]:
    """The values of each label that is from a closed set."""
    found: dict[str, set[str]] = {}
    for family in families():
        for sample in family.samples:
            for name, value in sample.labels.items():
                found.setdefault(name, set()).add(value)
    return found


def test_the_page_lists_the_metrics_that_there_are() -> None:
    """Each of them with its type, and no other."""
    page = (ROOT / "docs" / "monitoring.rst").read_text("utf-8")
    told = dict(re.findall(r"^``(taskmaster_\w+)``\s+(gauge|counter|histogram)\s", page, re.MULTILINE))
    there = {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families()}

    assert told == there


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json"])
def test_the_examples_name_what_is_exported(name: str) -> None:
    """A rule or panel on a metric or a label's value that is not there would be silent for ever."""
    text = (EXAMPLES / name).read_text("utf-8")
    known = labels()

    assert set(NAME.findall(text)) - {"taskmaster_run"} <= exported()
    for label, values in re.findall(r'\b(state|reason|outcome|place|command)=~?\\?"([a-z|]+)\\?"', text):
        assert set(values.split("|")) <= known[label], (label, values)


def test_the_dashboard_shows_most_of_what_is_exported() -> None:
    """And each of its panels asks for something, in a place of its own."""
    board = json.loads((EXAMPLES / "grafana-dashboard.json").read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    left_out = exported() - set(NAME.findall(" ".join(asked) + json.dumps(board["templating"])))

    assert all(NAME.search(expression) for expression in asked)
    assert len(set(places)) == len(places)
    assert len(left_out) <= 12, sorted(left_out)
