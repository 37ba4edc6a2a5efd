"""Why a run is no faster: one sentence with figures in each of the cases."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from taskmaster.master.why import WhyCode, WhyFacts, why

BUSY = WhyFacts(slaves=1, workers=4, busy=4, leased=8, queued=100, job_seconds=0.0021)
HELD = "by anna@bastion since 2026-11-28 13:06:00: deploy"

CASES = [
    (
        {"unwritable": "No space left on /srv.", "unwritable_seconds": 240.0, "state_timeout": 3600.0},
        WhyCode.STATE,
        "the state cannot be written, for 4m already: No space left on /srv",
    ),
    (
        {"unwritable": "The state /srv/a.tmstate cannot be written: disk is full.", "unwritable_seconds": 240.0},
        WhyCode.STATE,
        "the state /srv/a.tmstate cannot be written: disk is full (for 4m already)",
    ),
    (
        {"unwritable": "a checkpoint has been under way for 6 s: the disk hangs."},
        WhyCode.STATE,
        "the state cannot be written: a checkpoint has been under way for 6 s: the disk hangs",
    ),
    (
        {"draining": True, "leased": 3, "busy": 3, "longest": "4711 on web3:1", "longest_seconds": 8.0},
        WhyCode.STOPPING,
        "the run is being ended: 3 jobs still run, the longest (4711 on web3:1) for 8s",
    ),
    (
        {"hold": HELD, "leased": 3, "busy": 3, "longest": "4711 on web3:1", "longest_seconds": 124.0},
        WhyCode.PAUSED,
        f"paused {HELD}; 3 jobs still run, the longest (4711 on web3:1) for 2m4s",
    ),
    ({"hold": HELD, "leased": 0, "busy": 0}, WhyCode.PAUSED, f"paused {HELD}"),
    ({"throttled": "replication lag 7 s"}, WhyCode.THROTTLED, "replication lag 7 s"),
    ({"slaves": 0, "workers": 0, "busy": 0}, WhyCode.SLAVES, "no slave is connected; 100 jobs wait for one"),
    (
        {"slaves": 0, "workers": 0, "busy": 0, "refused": "web1:7: another Python"},
        WhyCode.REFUSED,
        "no slave is connected; the last one that came was refused: web1:7: another Python",
    ),
    (
        {"busy": 0, "leased": 0, "quiet": "vm was made quiet by root (testing)", "undo": "tm-ctl quiet vm --undo"},
        WhyCode.QUIET,
        "no slave takes jobs: vm was made quiet by root (testing)",
    ),
    (
        {"queued": 0, "busy": 1, "source_wanted": True, "source_seconds": 12.3},
        WhyCode.SOURCE,
        "waiting for get_jobs, which has given no job for 12s; 3 workers wait",
    ),
    (
        {"queued": 0, "error": "ValueError: no such table"},
        WhyCode.SOURCE,
        "get_jobs raised ValueError: no such table; what was read before is finished, and then the run stops",
    ),
    (
        {"skipping": 4_120_000},
        WhyCode.SOURCE,
        "get_jobs is read again up to the key where the run goes on: 4,120,000 jobs skipped",
    ),
    (
        {
            "queued": 0, "busy": 1, "source_wanted": True, "source_seconds": 12.3, "span_full": True, "span": 100_000,
            "longest": "88231 on web3:1", "longest_seconds": 240.0,
        },
        WhyCode.SPAN,
        "100,000 jobs are read beyond the oldest that is not settled: the job 88231 on web3:1 has run for 4m",
    ),
    (
        {
            "queued": 0, "source_wanted": True, "source_seconds": 12.3, "span_full": True, "span": 1000,
            "longest": "88231 on web3:1", "longest_seconds": 0.4,
        },
        WhyCode.SPAN,
        "1,000 jobs are read beyond the oldest that is not settled, and the next checkpoint is waited for",
    ),
    (
        {"queued": 0, "leased": 1, "busy": 1, "waiting": 13, "crowded": True, "next_due": 9.7},
        WhyCode.RETRY,
        "13 jobs wait to be tried again, the next in 10s; no more are read beside them",
    ),
    (
        {"queued": 0, "waiting": 13, "crowded": True, "next_due": 9.7},
        WhyCode.WORKERS,
        "nothing holds it: 4 of 4 workers are busy; a job takes 2.1 ms",
    ),
    (
        {"queued": 0, "alone": True, "leased": 0, "busy": 0, "waiting": 2, "next_due": 7.2},
        WhyCode.RETRY,
        "waiting for the 2 jobs that are to be tried again, the next in 7s",
    ),
    (
        {"queued": 0, "alone": True, "leased": 2, "busy": 2, "longest": "9 on web3:1", "longest_seconds": 41.0},
        WhyCode.LAST,
        "the last 2 jobs run: 9 on web3:1, for 41s",
    ),
    ({"rate": "held at 200/s, set by anna@bastion"}, WhyCode.RATE, "held at 200/s, set by anna@bastion"),
    ({"pace": "slowed to 30 %: lag is near its limit"}, WhyCode.PACE, "slowed to 30 %: lag is near its limit"),
    (
        {"longest": "9 on web3:1", "longest_seconds": 40.0},
        WhyCode.WORKERS,
        "nothing holds it: 4 of 4 workers are busy; a job takes 2.1 ms; the job 9 on web3:1 has run for 40s",
    ),
    (
        {"longest": "9 on web3:1", "longest_seconds": 1.0},
        WhyCode.WORKERS,
        "nothing holds it: 4 of 4 workers are busy; a job takes 2.1 ms",
    ),
    ({}, WhyCode.WORKERS, "nothing holds it: 4 of 4 workers are busy; a job takes 2.1 ms"),
    (
        {"busy": 3, "resting": 1, "most_job_seconds": 0.009},
        WhyCode.WORKERS,
        "nothing holds it: 3 of 3 workers are busy (1 more is on quiet slaves); a job takes 2.1 ms (95 % under 9 ms)",
    ),
    (
        {"job_seconds": 0.12345, "most_job_seconds": 41.56},
        WhyCode.WORKERS,
        "nothing holds it: 4 of 4 workers are busy; a job takes 120 ms (95 % under 42 s)",
    ),
    (
        {"busy": 1, "queued": 0},
        WhyCode.FEEDING,
        "1 of 4 workers are busy; a job takes 2.1 ms: the source gives fewer jobs than they could do",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "code", "sentence"), CASES, ids=[str(code) for _, code, _ in CASES])
def test_each_case_has_its_sentence(facts: dict, code: WhyCode, sentence: str) -> None:
    """With its figures."""
    found = why(replace(BUSY, **facts))

    assert (found.code, found.sentence) == (code, sentence)


def test_nobody_is_told_to_start_a_slave_that_an_engine_starts() -> None:
    """What is to be done about it is to look at the engine."""
    found = why(replace(BUSY, slaves=0, engine="engine: 0 of 2 slaves; scheduler away since 30 s"))

    assert found.cure == "The engine starts them: 0 of 2 slaves; scheduler away since 30 s."
    assert "tm-slave" in why(replace(BUSY, slaves=0)).cure


def test_why_a_slave_was_refused_is_one_sentence_and_the_cure_the_others() -> None:
    """The progress line had all of them, which are three lines of a terminal, every few seconds."""
    found = why(replace(BUSY, slaves=0, refused="web1:7: It was started with a.py. Is it another run? Start b.py."))

    assert found.sentence.endswith("was refused: web1:7: It was started with a.py")
    assert found.cure == "Is it another run? Start b.py."


def test_what_stops_a_run_comes_before_what_slows_it() -> None:
    """Where several are true, the first of the list is said."""
    everything: dict = {}
    for facts, _, _ in reversed(CASES):
        everything |= facts

    for name, code in (
        ("unwritable", WhyCode.STATE), ("draining", WhyCode.STOPPING), ("hold", WhyCode.PAUSED),
        ("throttled", WhyCode.THROTTLED),
    ):  # fmt: skip
        assert why(replace(BUSY, **everything)).code is code
        everything[name] = False if name == "draining" else ""


def test_every_case_that_stops_work_has_its_exit_code() -> None:
    """Scripts can ask."""
    codes = {code: code.exit_code for code in WhyCode}

    assert {codes[code] for code in (WhyCode.WORKERS, WhyCode.FEEDING, WhyCode.LAST, WhyCode.RETRY)} == {0}
    assert [codes[code] for code in (WhyCode.PAUSED, WhyCode.THROTTLED, WhyCode.SLAVES, WhyCode.SOURCE)] == [1, 2, 3, 4]
    assert codes[WhyCode.STATE] == 5


def test_whatever_the_facts_there_is_a_sentence() -> None:
    """Also of a run of which nothing is known."""
    assert why(WhyFacts()).sentence
    assert why(WhyFacts(slaves=1)).sentence


def test_a_run_may_wait_for_its_state_for_ever() -> None:
    """``--state-timeout=inf``: that the state cannot be written must not end the run, because
    nobody can say when.
    """
    endless = why(replace(BUSY, unwritable="No space left.", unwritable_seconds=5.0, state_timeout=math.inf))

    assert endless.cure.endswith("It never gives up.")
