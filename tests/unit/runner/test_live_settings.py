"""What can be set while a run goes on: the options of its command, with their own checks."""

from __future__ import annotations

from dataclasses import fields

import pytest

from taskmaster.errors import UsageError
from taskmaster.guards import Pace
from taskmaster.options.commands import MasterOptions, RunOptions
from taskmaster.runner.live_settings import READERS, SettingsOfRun, limits_of


def settings(**given: object) -> SettingsOfRun:
    """Those of a master with some options."""
    return SettingsOfRun(MasterOptions(**given), announced=True)  # type: ignore[arg-type]


def test_a_setting_takes_the_place_of_what_the_command_line_had() -> None:
    """The others stay."""
    limits, run_time, grace = settings(retries=1, crashes=7).changed(
        {"retries": "5", "job-timeout": "1m", "max-failures": "1%", "run-time": "2h", "grace": "5"}
    )

    assert (limits.retries, limits.crashes, limits.job_timeout, limits.max_failed_fraction) == (5, 7, 60.0, 0.01)
    assert (run_time, grace) == (7200.0, 5.0)
    assert settings(retries=1).changed({})[0] == limits_of(MasterOptions(retries=1), announced=True)


def test_off_takes_a_limit_away_that_may_be_missing() -> None:
    """Not one that has to be there."""
    limits, run_time, _ = settings(job_timeout=5.0, limit=3, run_time=9.0).changed(
        {"job-timeout": "off", "limit": "off", "run-time": "off"}
    )

    assert (limits.job_timeout, limits.limit, run_time) == (None, None, None)
    with pytest.raises(UsageError, match="--retries is 'off'"):
        settings().changed({"retries": "off"})


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("retries", "-1", "--retries is -1: give 0 or more"),
        ("size", "0", "--size is 0"),
        ("job-timeout", "0", "--job-timeout is 0.0"),
        ("job-timeout", "nan", "--job-timeout is nan"),
        ("max-failures", "many", "--max-failures is 'many'"),
        ("backoff", "soon", "--backoff is 'soon'"),
        ("nice", "1e9", "--nice is"),
        ("retry", "3", "did you mean retries"),
        ("span", "5", "span cannot be set while the run goes on"),
        ("rate", "5", "`tm-ctl rate` changes it"),
        (
            "pace",
            "2x",
            "pace cannot be set while the run goes on: stop the run, and start it again with another --pace",
        ),
        ("guard", "cpu_load=1%", "guard cannot be set while the run goes on: stop the run"),
        ("strict-code", "on", "strict-code cannot be set while the run goes on: it belongs to its start"),
    ],
)
def test_a_value_is_refused_as_its_option_is(name: str, value: str, wrong: str) -> None:
    """By the same check, with the same message."""
    with pytest.raises(UsageError, match=wrong.replace("?", r"\?")):
        settings().changed({name: value})


@pytest.mark.parametrize("options", [MasterOptions(), RunOptions()])
def test_every_setting_is_an_option_and_shows_its_source(options: MasterOptions) -> None:
    """Default, from the start, or changed since."""
    found = SettingsOfRun(options, announced=False)
    rows = {row["name"]: row for row in found.rows({"retries": "5", "hold": "paused", "rate": "off"})}

    assert set(READERS) <= set(rows)
    assert (rows["retries"]["value"], rows["retries"]["source"], rows["retries"]["default"]) == ("5", "live", "3")
    assert rows["size"]["source"] == "default"
    changed = SettingsOfRun(MasterOptions(size=5, rate=0.5), announced=False)
    assert {row["name"]: row["value"] for row in changed.rows({}) if row["source"] == "script"} == {
        "size": "5", "rate": "0.5/s",
    }  # fmt: skip


def test_all_options_are_listed_and_no_secret() -> None:
    """Of a webhook and a service, scheme and host; of a variable, the name; of the key, that it is
    given; of what is not set, what stands for it.
    """
    options = RunOptions(
        notify=("https://hooks.slack.com/services/T1/B2/secret", "mail -s x ops"), key="secret", env=("A=secret", "B"),
        guard=("http=https://u:secret@db/secret",), progress="none", web=True, processes=3,
    )  # fmt: skip
    rows = {row["name"]: row for row in SettingsOfRun(options, announced=False).rows({}, everything=True)}

    assert set(rows) == {one.name.replace("_", "-") for one in fields(options)}
    assert "secret" not in repr(rows)
    assert rows["notify"]["value"] == "https://hooks.slack.com/…, mail -s x ops"
    assert rows["key"]["value"] == "given, and not shown"
    assert rows["env"]["value"] == "A, B"
    assert rows["guard"]["value"] == "http=https://db/…"
    assert (rows["progress"]["value"], rows["progress"]["default"]) == ("none", "auto")
    assert (rows["web"]["value"], rows["log-json"]["value"]) == ("on", "off")
    assert (rows["processes"]["value"], rows["processes"]["default"]) == ("3", "the number of usable CPUs")
    assert {row["source"] for name, row in rows.items() if name in ("notify", "web")} == {"script"}


@pytest.mark.parametrize(
    ("given", "live", "outage"),
    [
        ({}, {}, "3600"),
        ({"max_failures": 3}, {}, "0"),
        ({}, {"max-failures": "1%"}, "0"),
        ({"outage": 60.0}, {}, "60"),
        ({"outage": 60.0}, {"outage": "1m30s"}, "90"),
        ({"outage": 60.0}, {"outage": "off"}, "0"),
    ],
)
def test_an_outage_is_shown_as_it_is_in_force(given: dict[str, object], live: dict[str, str], outage: str) -> None:
    """Where nobody has set it, it follows from the failures that are allowed; off is none."""
    rows = {row["name"]: row for row in settings(**given).rows(live)}

    assert rows["outage"]["value"] == outage
    assert rows["outage"]["default"] == "3600; 0 with --max-failures"
    assert settings(**given).changed(live)[0].outage == float(outage)


def test_a_pace_is_shown_as_it_is_in_force() -> None:
    """That of the module, too, without its database; --pace=off takes it back."""
    named = Pace("1.5x", lambda: 0.0)
    for options, module, shown, source in (
        (MasterOptions(), None, "off", "default"),
        (MasterOptions(), named, "1.5x", "module"),
        (MasterOptions(pace="off"), named, "off", "script"),
        (MasterOptions(pace="20ms@dbname=b password=sesame1"), named, "20ms@dbname=b password=***", "script"),
        (MasterOptions(pace=Pace("20ms", lambda: 0.0)), None, "20ms", "script"),  # type: ignore[arg-type]
    ):
        rows = SettingsOfRun(options, announced=False, named=module).rows({}, everything=True)
        found = next(row for row in rows if row["name"] == "pace")
        assert (found["value"], found["source"]) == (shown, source)
