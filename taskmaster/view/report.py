"""The report of a run: one page of HTML that needs nothing else, and runs nothing. Pure.

It has no script, no style attribute and no address of anything else. Where a policy forbids styles,
as that of Jenkins, or a mail program leaves them out, it only looks plainer: headings, tables and
the picture have attributes of their own. Texts of users' data are cleaned and escaped.
Its size is bounded, whatever the number of jobs, failures and slaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from taskmaster.redaction import clean_lines
from taskmaster.units import show_count, show_moment
from taskmaster.view.html_parts import DASH, LONGEST_CELL, Raw, bar, brief, code, duration, left_out, pairs, table, text
from taskmaster.view.plot import Mark, gaps, picture
from taskmaster.view.report_jobs import failed_jobs
from taskmaster.view.report_style import STYLE
from taskmaster.view.snapshot import HeldBy

__all__ = ["MOST_REPORT_BYTES", "exit_words", "mark_of", "report"]

MOST_REPORT_BYTES = 2_000_000
LONGEST_SENTENCE, LONGEST_REPORT_TRACEBACK = 1000, 8000  # characters
MOST_PLOT_ROWS = 40  # of the table beside the picture
SHORTENED_OF_REPORT = ("failed_jobs", "kinds", "trail", "slaves", "settings")
"""Lists of a report that are cut, the longest first, where the report would be too large."""
LEGEND = "Line: jobs a second. Shaded: held back. Triangle: somebody changed something. Dashed: the rate that was set."
ReportFacts = Mapping[str, Any]

_EXITS = {
    0: "all jobs are done",
    1: "an error, or get_jobs raised one",
    2: "wrong usage",
    3: "finished, with failed jobs",
    4: "stopped, because too many jobs failed",
    5: "the state cannot be used, or not be written",
    6: "the network: it could not listen, or reach somebody",
    75: "stopped as asked for; the same command goes on",
}
SIGNALLED = 128  # exit codes above are of a signal
_HELD_WORDS: dict[str, str] = {
    HeldBy.PAUSED: "paused",
    HeldBy.THROTTLED: "held by a guard or throttle()",
    HeldBy.RATE: "held by the rate",
    HeldBy.SOURCE: "waiting for the source",
    HeldBy.SLAVES: "waiting for slaves",
    HeldBy.STATE: "the state could not be written",
}
_GOING = "\N{BLACK CIRCLE}"
_SIGNS = {"good": "\N{HEAVY CHECK MARK}", "bad": "\N{BALLOT X}", "held": "\N{BLACK SQUARE}"}


def exit_words(code: int) -> str:
    """Return what an exit code means."""
    return _EXITS.get(75 if code > SIGNALLED else code, "an error")


def mark_of(row: ReportFacts) -> Mark:
    """Return a row of the trail as a mark of the plot."""
    return Mark(float(row["at"]), f"{_clock(row['at'])} {_who(row)}: {_what(row)}")


def report(facts: ReportFacts) -> bytes:
    """Return the report as a file.

    Args:
        facts: What is known of the run; see ``taskmaster.runner.report_facts``.
    """
    cut = dict(facts)
    while True:
        made = _page(cut).encode("utf-8", "replace")
        longest = max(SHORTENED_OF_REPORT, key=lambda name: _size(cut.get(name) or ()))
        rows = cut.get(longest) or ()
        if len(made) <= MOST_REPORT_BYTES or not rows:
            return made
        cut[longest] = rows[-(len(rows) // 2) :] if longest == "trail" and len(rows) > 1 else rows[: len(rows) // 2]
        cut[f"{longest}_left_out"] = int(cut.get(f"{longest}_left_out") or 0) + len(rows) - len(cut[longest])


def _size(rows: Sequence[ReportFacts]) -> int:
    """Return about how many characters rows take, whose texts are cut."""
    return sum(
        min(len(str(value)), LONGEST_REPORT_TRACEBACK if name == "traceback" else LONGEST_CELL)
        for row in rows
        for name, value in row.items()
    )


def _page(facts: ReportFacts) -> str:
    target = text(_name(facts))
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(facts['conclusion']['word'])}: {target}</title>\n<style>{STYLE}</style>\n</head>\n"
        "<body>\n<main>\n"
    )
    parts = [
        head,
        *_conclusion(facts, target),
        *_numbers(facts),
        *_plot(facts),
        *_failures(facts),
        *_durations(facts),
        *_slaves(facts),
        *_trail(facts),
        *_settings(facts),
        *_where(facts),
        *failed_jobs(facts),
        "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts)


# -- the parts, from above -------------------------------------------------------------------------


def _conclusion(facts: ReportFacts, target: str) -> list[str]:
    conclusion = facts["conclusion"]
    tone, number = conclusion["tone"], conclusion["exit_code"]
    exit_code = f"Exit code {number}: {exit_words(number)}." if number is not None else ""
    sign = _GOING if number is None and tone == "good" else _SIGNS.get(tone, "")
    said = f"{sign} {text(conclusion['word'])}"
    found = [f'<h1>{target}</h1>\n<p class="conclusion {text(tone)}"><strong>{said}</strong> {exit_code}</p>\n']
    if conclusion["sentence"]:
        found.append(f"<p>{text(_sentence(conclusion['sentence']), LONGEST_SENTENCE)}</p>\n")
    if facts.get("traceback"):
        lines = escape(clean_lines(str(facts["traceback"])[-LONGEST_REPORT_TRACEBACK:]))
        found.append(f"<pre>{lines}</pre>\n")
    if facts.get("resume") and not conclusion["finished"]:
        found.append(f"<p>The command that resumes it:</p>\n{code(facts['resume'])}")
    return found


def _numbers(facts: ReportFacts) -> list[str]:
    status = facts["status"]
    settled, total = status.get("settled", 0), status.get("total")
    here, clock, share = status.get("settled_here"), status.get("clock") or {}, status.get("share")
    part = share if share is not None else (settled / total if total else None)
    percent = f" ({int(1000 * min(1.0, part)) / 10:.1f} %)" if part is not None else ""
    lost, jobs = status.get("attempts_failed") or {}, show_count(settled, "job", form=",")
    rows = [
        ("Settled", (f"{settled:,} of {show_count(total, 'job', form=',')}" if total else jobs) + percent),
        ("Failed", show_count(status.get("failed", 0), "job", form=",")),
        ("Left out by the callback", show_count(status["skipped"], "job", form=",") if status.get("skipped") else ""),
        ("In this session, with repeats", "" if here is None else show_count(here, "job", form=",")),
        ("Jobs a second", _speeds(status)),
        ("Time", _times(clock)),
        ("Held back in this session", _held(clock.get("held_seconds") or {}, facts)),
        ("Pace", _paced(status.get("pace") or {})),
        ("Attempts that failed", ", ".join(f"{count:,} by {name}" for name, count in lost.items() if count)),
        ("Tried again", f"{status['retries']:,} times" if status.get("retries") else ""),
        ("A job took", _takes(status.get("job_seconds") or {})),
    ]
    return ["<h2>Numbers</h2>\n", pairs(rows)]


def _plot(facts: ReportFacts) -> list[str]:
    found = facts.get("points") or []
    marks = [mark_of(row) for row in facts.get("trail") or () if row.get("user") or row["command"] in _BEGUN]
    drawn = picture(found, marks, _tick)
    if not drawn:
        return ["<h2>Jobs a second</h2>\n<p>The run was too short for a plot.</p>\n"]
    wide = gaps(found)
    # Each row is the last of its stretch: the smallest number of a stretch would hide what held the
    # run.
    step = max(1, -(-len(found) // MOST_PLOT_ROWS))
    rows = [
        ("\N{EM DASH}" if number in wide else "", *point)
        for number, point in list(enumerate(found))[:: -step or None][::-1]
    ]
    body = (
        (show_moment(at), gone or _speed(speed), f"{failed:,}" if step == 1 else "", _held_by(held, facts))
        for gone, at, speed, failed, held, _ in rows
    )
    head = ("Time", "Jobs a second", "Failed", "Held back") if step == 1 else ("Time", "Jobs a second", "", "Held back")
    return [
        "<h2>Jobs a second</h2>\n",
        f'<div class="plot">{drawn}</div>\n',
        f"<p><small>{LEGEND}</small></p>\n",
        "<details><summary>The same as a table</summary>\n",
        table(head, body),
        "</details>\n",
    ]


def _failures(facts: ReportFacts) -> list[str]:
    failed, kinds = facts["status"].get("failed", 0), facts.get("kinds") or ()
    if not failed and not kinds:
        return ["<h2>Failures</h2>\n<p>No job has failed for good.</p>\n"]
    found = [f"<h2>Failures ({failed:,})</h2>\n"]
    for kind in kinds:
        where = f" <code>{text(kind['where'])}</code>" if kind.get("where") else ""
        found.append(
            f'<section class="kind"><h3>{kind["count"]:,} \N{MULTIPLICATION SIGN} {text(kind["type"])}{where}</h3>\n'
            f"<p>Last {show_moment(kind['last_at'])}, key {text(kind['key'])}: "
            f"{text(kind['message']) or 'no message'}</p>\n"
        )
        if kind.get("traceback"):
            lines = escape(clean_lines(str(kind["traceback"])[-LONGEST_REPORT_TRACEBACK:]))
            found.append(f"<details><summary>Traceback of that job</summary>\n<pre>{lines}</pre></details>\n")
        found.append("</section>\n")
    found.append(left_out(facts.get("kinds_left_out"), "kind"))
    if facts.get("failures"):
        found.append(f"<p>All of them, with each attempt:</p>\n{code(facts['failures'])}")
    if facts.get("failed_again") and facts["conclusion"]["exit_code"] is not None:
        found.append(f"<p>Run them again, when the cause is mended:</p>\n{code(facts['failed_again'])}")
    return found


def _durations(facts: ReportFacts) -> list[str]:
    jobs = facts["status"].get("job_seconds") or {}
    counts: list[tuple[float, int]] = []
    before = 0
    for upper, upto in jobs.get("buckets") or ():
        counts.append((upper, upto - before))
        before = upto
    if rest := (jobs.get("count") or 0) - before:
        counts.append((float("inf"), rest))
    some = [number for number, (_, count) in enumerate(counts) if count]
    if not some:
        return []
    most = max(count for _, count in counts)
    rows = [
        (f"up to {brief(upper)}" if upper != float("inf") else "more", f"{count:,}", Raw(bar(count / most)))
        for upper, count in counts[some[0] : some[-1] + 1]
    ]
    mean = " Jobs of a batch count with their mean." if jobs.get("basis") == "batches" else ""
    return [
        "<h2>How long jobs took</h2>\n",
        f"<p>{_takes(jobs)}, in this session. Each attempt counts, those that failed too.{mean}</p>\n",
        table(("Time", "Attempts", ""), rows),
    ]


def _slaves(facts: ReportFacts) -> list[str]:
    rows = facts.get("slaves")
    if rows is None:
        return []
    if not rows:
        return ["<h2>Slaves</h2>\n<p>No slave was there in this session.</p>\n"]
    body = (
        (
            row["name"],
            _went(row),
            f"{row['workers']:,}",
            f"{row['done']:,}",
            f"{row['failed']:,}",
            f"{brief(row['p50'])}, 95 % under {brief(row['p95'])}" if row.get("p50") is not None else DASH,
            show_moment(row["since_at"]),
            row.get("release") or "",
        )
        for row in rows
    )
    head = ("Slave", "How it went", "Workers", "Attempts done", "failed", "A job took", "Since", "Release")
    return [f"<h2>Slaves ({len(rows)})</h2>\n", table(head, body), left_out(facts.get("slaves_left_out"), "slave")]


def _trail(facts: ReportFacts) -> list[str]:
    rows = facts.get("trail") or ()
    body = ((show_moment(row["at"]), _who(row), _what(row), row.get("reason") or "") for row in rows)
    return [
        "<h2>Who changed what</h2>\n",
        table(("When", "Who", "What", "Why"), body) if rows else "<p>Nothing was changed.</p>\n",
        left_out(facts.get("trail_left_out"), "older row"),
    ]


def _settings(facts: ReportFacts) -> list[str]:
    rows = facts.get("settings") or ()
    if not rows:
        return []
    chosen = [row for row in rows if row.get("source") != "default"]
    usual = [row for row in rows if row.get("source") == "default"]
    found = ["<h2>Settings</h2>\n"]
    if chosen:
        head = ("Setting", "Value", "Default", "From")
        body = ((row["name"], row.get("value", ""), row.get("default", ""), _source(row)) for row in chosen)
        found.append(table(head, body))
    if usual:
        found += [
            f"<details><summary>{show_count(len(usual), 'setting')} at the default</summary>\n",
            table(("Setting", "Value"), ((row["name"], row["value"]) for row in usual)),
            "</details>\n",
        ]
    return found


def _source(row: ReportFacts) -> str:
    return f"{row.get('source', '')}" + (f", by {row['by']} on {show_moment(row['at'])}" if row.get("by") else "")


def _where(facts: ReportFacts) -> list[str]:
    status = facts["status"]
    release, python = status.get("release"), status.get("python")
    versions = f"Taskmaster {release}" + (f", Python {python}" if python else "") if release else ""
    master = f"{status['host']}, pid {status.get('pid')}" if status.get("host") else ""
    rows = [
        ("Target", str(status.get("target", ""))),
        ("Run", str(status.get("run", ""))),
        ("Watermark", str(status.get("watermark") or "none yet")),
        ("State", str(facts.get("state_file") or "none: this run kept no state")),
        ("Master", master),
        ("Release", versions),
        ("Report made", f"{show_moment(facts['made_at'])}; times are of {facts.get('zone') or 'this machine'}"),
    ]
    return ["<h2>Where it is</h2>\n", pairs(rows)]


# -- texts -----------------------------------------------------------------------------------------

_BEGUN = ("started", "resumed")


def _name(facts: ReportFacts) -> str:
    return str(facts["status"].get("target") or "a run").rpartition("/")[2]


def _sentence(said: str) -> str:
    said = said.strip()
    return said[:1].upper() + said[1:] + ("" if said[-1:] in ".!?" else ".")


def _who(row: ReportFacts) -> str:
    if not row.get("user"):
        return str(row.get("via") or "")
    return f"{row['user']}@{row['host']}" if row.get("host") else str(row["user"])


def _what(row: ReportFacts) -> str:
    before, after = row.get("before"), row.get("after")
    if not before and not after:
        return str(row["command"])
    arrow = f"{before} \N{RIGHTWARDS ARROW} {after or DASH}" if before else str(after)
    return f"{row['command']}: {arrow}"


def _went(row: ReportFacts) -> str:
    return str(row["state"]) if row.get("gone_at") is None else f"{row['state']}, {show_moment(row['gone_at'])}"


def _clock(at: float) -> str:
    return show_moment(at)[11:19]


def _tick(at: float, seconds: float) -> str:
    shown = show_moment(at)
    return shown[11:19] if seconds < 900 else shown[11:16] if seconds < 43_200 else shown[5:16]


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # three digits


def _speeds(status: ReportFacts) -> str:
    rates = status.get("rates") or {}
    session, working = rates.get("session"), rates.get("working")
    if session is None:
        return ""
    awake = f", {_speed(working)} while it was not paused" if working and working > 1.01 * session else ""
    return f"{_speed(session)} in this session{awake}"


def _times(clock: ReportFacts) -> str:
    parts = []
    if clock.get("session_seconds") is not None:
        parts.append(f"{duration(clock['session_seconds'])} in this session")
    if clock.get("run_seconds") is not None:
        parts.append(f"{duration(clock['run_seconds'])} in all")
    if clock.get("started_at"):
        parts.append(f"begun {show_moment(clock['started_at'])}")
    if clock.get("finished_at"):
        parts.append(f"finished {show_moment(clock['finished_at'])}")
    return ", ".join(parts)


def _held_by(name: str, facts: ReportFacts) -> str:
    with_pace = name == HeldBy.THROTTLED and facts["status"].get("pace")
    return "held by the pace, a guard or throttle()" if with_pace else _HELD_WORDS.get(name, name)


def _paced(pace: ReportFacts) -> str:
    if pace.get("probe_seconds") is None:
        return ""
    beside, allowed, alone = (1000 * pace[f"{name}_seconds"] for name in ("probe", "allowed", "baseline"))
    return f"probe {beside:.3g} ms of {allowed:.3g} ms allowed, {alone:.3g} ms without the run"


def _held(seconds: Mapping[str, float], facts: ReportFacts) -> str:
    return ", ".join(f"{_held_by(name, facts)} {duration(held)}" for name, held in seconds.items() if held >= 1)


def _takes(jobs: ReportFacts) -> str:
    if jobs.get("p50") is None:
        return ""
    longest = f", the longest {brief(jobs['longest'])}" if jobs.get("longest") is not None else ""
    return f"{brief(jobs['p50'])} (95 % under {brief(jobs['p95'])}{longest})"
