"""The handshake: each side proves that it has the key, in the standard library's own exchange.

It comes before anything else is said. One subkey for each direction: with one key for both, a peer
without it could pass the challenge of one side on to the other, and use the answer as its own. What
was said makes the keys of the seals, so that a stranger who passes all of it on can say nothing
afterwards.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from multiprocessing import connection
from typing import Any, Literal

from taskmaster.transport.channel import Channel
from taskmaster.transport.seal import Seal, seals

__all__ = ["HANDSHAKE_SECONDS", "prove_both"]

HANDSHAKE_SECONDS = 10.0
"""How long a handshake may take."""


class _Recorder:
    """A channel that makes a digest of all that passes. Both sides make the same one, because they
    hear and say the same in the same order.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._said = sha256()

    def send_bytes(self, data: bytes) -> None:
        self._note(data)
        self._channel.send_bytes(data)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        data = self._channel.recv_bytes(maxlength)
        self._note(data)
        return data

    def digest(self) -> bytes:
        return self._said.digest()

    def _note(self, data: bytes) -> None:
        self._said.update(len(data).to_bytes(4) + data)


def prove_both(channel: Channel, key: bytes, role: Literal["master", "slave"]) -> tuple[Seal, Seal]:
    """Prove that we have the key, and have the peer prove it.

    Returns:
        The seals of what this side sends from now on, and of what it receives.

    Raises:
        multiprocessing.AuthenticationError: the peer has another key.
        EOFError, OSError, AssertionError: the peer does not speak this protocol, or is gone.
    """
    slaves, masters = (hmac.digest(key, purpose, "sha256") for purpose in (b"slave proves", b"master proves"))
    recorder = _Recorder(channel)
    # Typed as Any: the two functions want no more than send_bytes and recv_bytes, which is less
    # than their annotation.
    peer: Any = recorder
    if role == "master":
        connection.deliver_challenge(peer, slaves)
        connection.answer_challenge(peer, masters)
    else:
        connection.answer_challenge(peer, slaves)
        connection.deliver_challenge(peer, masters)
    return seals(key, recorder.digest(), role)
