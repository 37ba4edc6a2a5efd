"""The failed jobs of a report, one by one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmaster.units import show_count, show_moment
from taskmaster.view.html_parts import left_out, table

__all__ = ["failed_jobs"]


def failed_jobs(facts: Mapping[str, Any]) -> list[str]:
    """Return the failed jobs of a report, which come last: a mail program that shows no more than
    the first 100 KB leaves out some of these, and nothing else.
    """
    rows, more = facts.get("failed_jobs") or (), left_out(facts.get("failed_jobs_left_out"), "failed job")
    if not rows and not more:
        return []
    body = ((row["key"], row["type"], show_moment(row["at"]), row["message"]) for row in rows)
    return [
        "<h2>Failed jobs</h2>\n",
        f"<details><summary>{show_count(len(rows), 'failed job', form=',')}, one by one</summary>\n",
        table(("Key", "Kind", "When", "Message"), body),
        "</details>\n",
        more,
    ]
