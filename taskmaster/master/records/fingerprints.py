"""Fingerprints: by them, a run that is resumed recognises the jobs that it has settled already."""

from __future__ import annotations

import io
import pickle
from hashlib import blake2b
from typing import Any

from taskmaster import keys
from taskmaster.errors import KeyUnstorable

__all__ = ["FINGERPRINT_BYTES", "NO_FINGERPRINT", "fingerprint", "fingerprint_of_key", "separate"]

FINGERPRINT_BYTES = 16  # two of a billion jobs share one with a probability below 1e-20
NO_FINGERPRINT = bytes(FINGERPRINT_BYTES)
"""Stands for the fingerprint of a job that cannot have any, where many are kept one after the
other.
"""


def fingerprint(key: str, payload: Any) -> bytes:
    """Return 16 bytes that tell this key with this payload from any other.

    Equal plain payloads give equal fingerprints in every process. Other objects are told apart by
    their pickle, which for equal objects can differ: then a job runs again that need not have.

    Args:
        key: The encoded key.
        payload: What the callback gets.

    Raises:
        Exception: Whatever pickling the payload raises.
    """
    kind = type(payload)
    try:
        # To say of a row why it cannot be a key takes longer than all the rest.
        content = keys.encode(payload) if kind in keys.KEY_SCALARS or kind in (tuple, list) else None
    except (KeyUnstorable, RecursionError):
        content = None
    if content == key:
        return fingerprint_of_key(key)
    digest = blake2b(key.encode(), digest_size=FINGERPRINT_BYTES)
    digest.update(b"\0" + (content.encode() if content is not None else _stable_pickle(payload)))
    return digest.digest()


def fingerprint_of_key(key: str) -> bytes:
    """Return the fingerprint of a job that is its own key; ``key`` is encoded."""
    return blake2b(key.encode(), digest_size=FINGERPRINT_BYTES).digest()


def separate(fingerprints: bytes) -> list[bytes]:
    """Return concatenated fingerprints, one by one."""
    return [fingerprints[at : at + FINGERPRINT_BYTES] for at in range(0, len(fingerprints), FINGERPRINT_BYTES)]


def _sorted_sets(value: Any) -> Any:
    """Return a value with its sets as sorted lists: their order differs between processes."""
    kind = type(value)
    if kind in (set, frozenset):
        return (kind.__name__, sorted((_sorted_sets(part) for part in value), key=repr))
    if kind in (list, tuple):
        return kind(_sorted_sets(part) for part in value)
    if kind is dict:
        return {name: _sorted_sets(part) for name, part in value.items()}
    return value


def _stable_pickle(payload: Any) -> bytes:
    """Return a pickle that, where possible, does not show which equal parts are one object."""
    try:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, protocol=5)
        pickler.fast = True
        pickler.dump(_sorted_sets(payload))
        return buffer.getvalue()
    except (RecursionError, ValueError):
        # Without its memo, the pickler cannot follow an object that holds itself.
        return pickle.dumps(payload, protocol=5)
