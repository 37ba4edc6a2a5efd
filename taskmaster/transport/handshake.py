"""The handshake: each side proves that it has the key, in the standard library's own exchange.

Called by server and client before anything else. One subkey for each direction: with one key for
both, a peer without it could pass the challenge of one side on to the other, and use the answer as
its own.
"""

from __future__ import annotations

import hmac
from multiprocessing import connection
from typing import Any, Literal

from taskmaster.transport.channel import Channel

__all__ = ["SECONDS", "prove_both"]

SECONDS = 10.0
"""How long a handshake may take."""


def prove_both(channel: Channel, key: bytes, role: Literal["master", "slave"]) -> None:
    """Prove that we have the key, and have the peer prove it.

    Raises:
        multiprocessing.AuthenticationError: the peer has another key.
        EOFError, OSError, AssertionError: the peer does not speak this protocol, or is gone.
    """
    slaves, masters = (hmac.digest(key, purpose, "sha256") for purpose in (b"slave proves", b"master proves"))
    # Typed as Any: the two functions want no more than send_bytes and recv_bytes, which is less
    # than their annotation.
    peer: Any = channel
    if role == "master":
        connection.deliver_challenge(peer, slaves)
        connection.answer_challenge(peer, masters)
    else:
        connection.answer_challenge(peer, slaves)
        connection.deliver_challenge(peer, masters)
