"""A status as metrics for Prometheus, in its text format or OpenMetrics, made by prometheus-client.

The number of series does not grow with the run: no label has the name of a slave, a key, a class of
exception or a message. prometheus-client comes with the extra ``web`` and is imported when the
first text is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taskmaster.redaction import clean
from taskmaster.view.snapshot import FailedBy, HeldBy, RunState

__all__ = ["STEERING_COMMANDS", "metrics"]

LONGEST_LABEL = 100  # characters

STEERING_COMMANDS = ("pause", "resume", "rate", "stop", "quiet", "set", "retry", "note")
UNSETTLED_AT = ("queued", "leased", "waiting", "parked")
SETTLED_AS = ("done", "failed", "skipped")

# Gauges with one value: name, help, and where in the status it is. What is not known is left out.
GAUGES = (
    ("jobs_expected", "How many jobs the run has.", ("total",)),
    ("progress_ratio", "Part of the run that is settled, from 0 to 1.", ("progress",)),
    ("eta_seconds", "Seconds until the run is over; of a paused one, once it is resumed.", ("eta_detail", "seconds")),
    ("slaves", "Connected slaves.", ("slaves",)),
    ("workers", "Worker processes of the connected slaves.", ("workers",)),
    ("workers_busy", "Worker processes that have a job.", ("workers_busy",)),
    ("checkpoint_age_seconds", "Seconds since the last checkpoint.", ("checkpoint", "age_seconds")),
    ("checkpoint_last_duration_seconds", "How long the last checkpoint took.", ("checkpoint", "took_seconds")),
    ("checkpoint_failing_seconds", "For how long no checkpoint could be written.", ("checkpoint", "failing_seconds")),
    ("watermark_age_seconds", "Seconds since the watermark has moved.", ("watermark_age_seconds",)),
    ("span_jobs", "Jobs from the watermark to the newest job read.", ("span", "now")),
    ("span_limit_jobs", "How many these may be.", ("span", "most")),
    ("queue_limit_jobs", "How many jobs may wait in the queue.", ("queue", "most")),
    ("rate_limit", "Jobs a second that may be handed out.", ("rate_limit",)),
    ("pace_ratio", "Share of full speed that a database allows.", ("pace", "share")),
    ("probe_seconds", "What the probe of the pace takes.", ("pace", "probe_seconds")),
    ("probe_baseline_seconds", "What it takes without the run.", ("pace", "baseline_seconds")),
    ("probe_allowed_seconds", "What it may take beside the run.", ("pace", "allowed_seconds")),
    ("status_timestamp_seconds", "When the master said this, in seconds since the epoch.", ("at",)),
    ("master_resident_memory_bytes", "Memory of the master's process.", ("memory_bytes",)),
)  # fmt: skip

# Counters with one value. They begin anew with each session, as Prometheus expects of a process.
COUNTERS = (
    ("jobs_read", "Jobs that the session has read.", ("source", "read")),
    ("retries", "Attempts of the session that are followed by another one.", ("retries",)),
    ("slaves_lost", "Slaves that were lost in the session.", ("slaves_lost",)),
    ("slaves_refused", "Slaves that were not let in.", ("slaves_refused",)),
    ("master_cpu_seconds", "Processor time of the master's process.", ("cpu_seconds",)),
)


def metrics(
    status: Mapping[str, Any] | None, up: bool, accept: str = "", *, with_target: bool = False
) -> tuple[str, bytes]:
    """Return metrics as their content type and text.

    Args:
        status: What the master has said last, as ``tm-ctl status --json`` has it; None if nothing.
        up: Whether it has answered.
        accept: Which formats the reader takes, as in HTTP.
        with_target: Whether each series has the labels ``target`` and ``run``, for readers that put
            those of several runs together, also of one target with other arguments.
    """
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    known = status if up else None
    told = {name: _label(known.get(name, "")) for name in ("run", "target")} if known and with_target else {}
    registry.register(_Collector(known, told))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Collector:
    """Gives the families of a status, in the way that prometheus-client asks for them.

    Args:
        status: What the master has said; None if it does not answer.
        labels: Labels that each series has.
    """

    def __init__(self, status: Mapping[str, Any] | None, labels: Mapping[str, str]) -> None:
        self._status = status
        self._labels = labels

    def describe(self) -> Iterable[Any]:
        """Name nothing in advance: the registry is used once."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Return the families."""
        for family in self._families():
            family.samples = [one._replace(labels={**self._labels, **one.labels}) for one in family.samples]
            yield family

    def _families(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        yield GaugeMetricFamily("taskmaster_up", "1 if the master has answered.", float(bool(self._status)))
        status = self._status
        if not status:
            return
        shown = {"run": status.get("run"), "target": status.get("target"), "release": status.get("release")}
        about = {name: _label(value) for name, value in shown.items()}
        yield InfoMetricFamily("taskmaster_run", "What is run.", about)
        for name, text, path in GAUGES:
            value = _found(status, path)
            if value is not None:
                yield GaugeMetricFamily(f"taskmaster_{name}", text, value)
        for name, text, path in COUNTERS:
            value = _found(status, path)
            if value is not None:
                yield CounterMetricFamily(f"taskmaster_{name}", text, value)
        yield from _by_label(status, GaugeMetricFamily, CounterMetricFamily)
        yield from _durations(status.get("job_seconds"))
        yield from _guards(status.get("guards"), GaugeMetricFamily)


def _by_label(status: Mapping[str, Any], gauge: Any, counter: Any) -> Iterator[Any]:
    """Return the families with a label, whose values are from closed sets."""
    here = _here(status)
    jobs = {name: _found(status, (name,)) for name in SETTLED_AS}
    unsettled = {name: _found(status, (name,)) for name in UNSETTLED_AT}
    failed = {name: _found(status, ("attempts_failed", name)) for name in map(str, FailedBy)}
    held = {name: _found(status, ("clock", "held_seconds", name)) for name in map(str, HeldBy)}
    steered = {name: _found(status, ("steered", name)) or 0.0 for name in STEERING_COMMANDS}
    states = {str(one): float(status.get("state") == one) for one in RunState}
    for family, name, text, label, values in (
        (counter, "jobs_settled", "Jobs that the session has settled.", "outcome", here),
        (gauge, "run_jobs", "Jobs that the run has settled, over all its sessions.", "outcome", jobs),
        (gauge, "jobs", "Jobs that are not settled, by where they are.", "place", unsettled),
        (counter, "attempts_failed", "Attempts of the session that did not end well.", "reason", failed),
        (gauge, "state", "1 for what the run is doing.", "state", states),
        (counter, "held_seconds", "Seconds of the session in which the run was held back.", "reason", held),
        (counter, "steered", "How often an operator has changed the run in this session.", "command", steered),
    ):
        found = family(f"taskmaster_{name}", text, labels=[label])
        for one, value in values.items():
            if value is not None:
                found.add_metric([one], value)
        yield found


def _here(status: Mapping[str, Any]) -> dict[str, float | None]:
    """Return how many jobs this session has settled, by their outcome."""
    return {name: _found(status, ("settled_by_outcome", name)) for name in SETTLED_AS}


def _durations(told: Any) -> Iterator[Any]:
    """Return the histogram of the time that jobs take."""
    from prometheus_client.core import HistogramMetricFamily

    if isinstance(told, Mapping) and told.get("buckets"):
        buckets = [(repr(float(bound)), float(count)) for bound, count in told["buckets"]]
        buckets.append(("+Inf", float(told["count"])))
        yield HistogramMetricFamily(
            "taskmaster_job_duration_seconds",
            "How long jobs take; those of a batch are counted with their mean.",
            buckets,
            float(told["sum"]),
        )


def _guards(told: Any, gauge: Any) -> Iterator[Any]:
    """Return the numbers of the guards, each under a name of its own."""
    values = gauge("taskmaster_guard_value", "What a guard has read last.", labels=["guard"])
    limits = gauge("taskmaster_guard_limit", "The limit of a guard, beyond which it holds the run.", labels=["guard"])
    names: set[str] = set()
    for one in told or ():
        name = own = _label(one.get("name"))
        number = 1
        while own in names:
            number += 1
            own = f"{name} ({number})"
        names.add(own)
        if one.get("value") is not None:
            values.add_metric([own], one["value"])
        limits.add_metric([own], one["limit"])
    if names:
        yield values
        yield limits


def _found(status: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    """Return a number of the status; None where it is not known."""
    if path == ("progress",):
        return _progress(status)
    value: Any = status
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _progress(status: Mapping[str, Any]) -> float | None:
    share, total = status.get("share"), status.get("total")
    if share is not None:
        return min(1.0, float(share))
    return min(1.0, float(status.get("settled", 0)) / total) if total else None


def _label(value: Any) -> str:
    return clean(str(value))[:LONGEST_LABEL]
