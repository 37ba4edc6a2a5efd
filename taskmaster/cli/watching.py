"""``tm-ctl status``: how a run stands, once or again each second."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from taskmaster.cli.echo import echo, echo_json
from taskmaster.errors import ConnectError
from taskmaster.redaction import clean
from taskmaster.units import show_count, show_rounded
from taskmaster.view.snapshot import RunState, Snapshot
from taskmaster.view.status import RATE_SECONDS, Rate, status_line, to_json
from taskmaster.view.time_left import TimeLeft
from taskmaster.view.watch import Watch

__all__ = ["as_object", "described", "watching"]

WATCH_PAUSE_SECONDS = 1.0


def as_object(status: Mapping[str, Any], rate: Rate | None = None) -> dict[str, Any]:
    """Return a status for programs.

    Args:
        status: The master's answer.
        rate: The rate measured from earlier answers; None: this is the first one.
    """
    snapshot = Snapshot.from_wire(status)
    return {**to_json(snapshot, rate or _recent(snapshot, status)), **status}


def described(status: Mapping[str, Any], rate: Rate | None = None) -> list[str]:
    """Return a status as lines for a person; see ``as_object``."""
    snapshot = _said_once(Snapshot.from_wire(status))
    seconds = snapshot.working or snapshot.elapsed
    mean = f"{snapshot.settled_here / seconds if seconds else 0.0:.2f}/s over this session; above, the last 10 seconds"
    pairs = [
        ("Target", snapshot.target),
        ("Run", snapshot.run),
        ("Address", snapshot.address),
        ("State", f"{snapshot.state}: {snapshot.reason}" if snapshot.reason else snapshot.state),
        *([("Why", f"{snapshot.why_sentence}. {snapshot.cure}".strip())] if snapshot.why_sentence else []),
        *([("Rate", mean)] if rate is None else []),
        ("Watermark", snapshot.watermark or "none yet"),
        ("Jobs", f"{snapshot.queued} in queue, {snapshot.leased} handed out, {snapshot.parked} parked"),
        ("Slaves", f"{snapshot.slaves}, with {show_count(snapshot.workers, 'worker process', 'es')}"),
        ("Batch", f"{show_count(snapshot.batch, 'job')} ({snapshot.batch_reason})" if snapshot.batch else "none yet"),
    ]
    if snapshot.running:
        worker = f", worker {snapshot.running_worker}" if snapshot.running_worker else ""
        run_for = show_rounded(snapshot.running_for)
        pairs.append(("Oldest", f"job {snapshot.running}, for {run_for} on {snapshot.running_on}{worker}"))
    return [_line(status, snapshot, rate), *(clean(f"{name + ':':<11}{value}") for name, value in pairs)]


def watching(host: str, key: str | None, key_file: str | None, *, as_json: bool) -> None:
    """Show the status of a run each second, until its master is gone.

    Args:
        host: The address of the master.
        key: The shared key.
        key_file: A file with the shared key.
        as_json: Whether to print one JSON object a line.
    """
    from taskmaster.runner.steer_client import SteerClient

    watch, in_place = Watch(), not as_json and sys.stdout.isatty()
    client = SteerClient(host, key, key_file, via="tm-ctl")
    found = client.status()
    while True:
        watch.add(found)
        if as_json:
            echo_json(as_object(found, watch.rate))
        elif in_place:
            sys.stdout.write(watch.screen(described(found, watch.rate)))
        else:
            echo(_line(found, Snapshot.from_wire(found), watch.rate))
        sys.stdout.flush()
        if found.get("state") in (RunState.FINISHED, RunState.STOPPED):
            return
        time.sleep(WATCH_PAUSE_SECONDS)
        try:
            found = client.status()
        except ConnectError as exc:
            echo(f"The master does not answer any more: {exc}", err=True)
            return


def _line(status: Mapping[str, Any], snapshot: Snapshot, rate: Rate | None) -> str:
    return status_line(snapshot, rate or _recent(snapshot, status), left=_said_of_end(status))


def _said_once(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without its reason if the line that begins with "Why" has it, too: the
    reason of a pace fills a line.
    """
    if snapshot.state is RunState.RUNNING and snapshot.reason in snapshot.why_sentence:
        return replace(snapshot, reason="")
    return snapshot


def _said_of_end(status: Mapping[str, Any]) -> TimeLeft | None:
    """Return the time left, from the master's answer; None if that is an older one, without it."""
    said = status.get("eta_detail")
    if not isinstance(said, Mapping):
        return None
    return TimeLeft(said.get("seconds"), if_resumed=bool(said.get("if_resumed")))


def _recent(snapshot: Snapshot, status: Mapping[str, Any]) -> Rate:
    """Return the rate of the last ten seconds, for a progress line; that of the whole session if
    the master's answer does not have it.
    """
    rate, said = Rate(), status.get("rates")
    recent = said.get("10s") if isinstance(said, Mapping) else None
    before = snapshot.elapsed - RATE_SECONDS
    if isinstance(recent, (int, float)) and before > 0 and snapshot.settled_here:
        settled = max(0, snapshot.settled_here - round(recent * RATE_SECONDS))
        share = snapshot.share_here * settled / snapshot.settled_here
        rate.add(before, settled, None, share)
    rate.add(snapshot.elapsed, snapshot.settled_here, snapshot.working or None, snapshot.share_here)
    return rate
