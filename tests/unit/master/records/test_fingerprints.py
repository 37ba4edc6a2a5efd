"""Fingerprints of jobs."""

from __future__ import annotations

from typing import Any

from taskmaster import keys
from taskmaster.master.records.fingerprints import fingerprint, fingerprint_of_key, separate


def test_fingerprints_tell_key_and_payload_apart() -> None:
    """Both count."""
    prints = [fingerprint(keys.encode(key), payload) for key in (1, 2) for payload in (1, 2, "1", {"a": 1}, None)]

    assert len(set(prints)) == 10
    assert {len(one) for one in prints} == {16}
    assert separate(b"".join(prints)) == prints


def test_equal_payloads_have_equal_fingerprints() -> None:
    """Although their parts may be one object here and two there."""
    part = "x" * 100
    shared = {"a": part, "b": part, "c": [part]}
    apart = {"a": "x" * 100, "b": "".join(["x"] * 100), "c": ["x" * 50 + "x" * 50]}

    assert fingerprint("1", shared) == fingerprint("1", apart)


def test_a_payload_that_holds_itself_has_one_too() -> None:
    """Its pickle needs a memo."""
    loop: list[Any] = [1]
    loop.append(loop)

    assert len(fingerprint("1", loop)) == 16


def test_a_job_that_is_its_own_key_has_the_same_fingerprint_by_the_short_way() -> None:
    """What an earlier session wrote down is recognised whichever way it was taken."""
    for job in (7, "seven", (7, "seven"), None):
        assert fingerprint_of_key(keys.encode(job)) == fingerprint(keys.encode(job), job)
