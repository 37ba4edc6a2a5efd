"""Seals: a code behind each frame, which only the two that have shaken hands can make.

The handshake makes them, and channels use them. A stranger who passes the handshake of two others
on, without knowing the key, could otherwise speak for both of them afterwards. Each
direction has a key of its own, made of the shared key and of all that was said in the handshake,
with the random numbers of both sides; each frame's code covers its number, so that none can be left
out, repeated or reordered.

A connection within one machine is not sealed for long: where both ends see the same two sockets,
there is nobody between them, and sealing a gigabyte takes most of a second on either side.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from hashlib import sha256
from pathlib import Path
from typing import Literal

__all__ = ["TAG_BYTES", "Seal", "ends", "seals"]

TAG_BYTES = 16
"""Bytes of a frame's code."""

_BLOCK_BYTES = 64  # bytes that SHA-256 works on at once
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Seal:
    """HMAC-SHA-256 of the frames of one direction, one after the other.

    The ``hmac`` module's copies take twice as long as a short frame's code does, so that the key is
    hashed here, once.

    Args:
        key: the key for this direction, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(padded.translate(_INNER))
        self._outer = sha256(padded.translate(_OUTER))
        self._number = 0
        self._frame = self._inner.copy()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in a part of the frame."""
        self._frame.update(data)

    def finish(self) -> bytes:
        """Return the code of the frame, and begin the next one."""
        self._frame.update(self._number.to_bytes(8))
        outer = self._outer.copy()
        outer.update(self._frame.digest())
        self._number += 1
        self._frame = self._inner.copy()
        return outer.digest()[:TAG_BYTES]

    def matches(self, tag: bytes | bytearray) -> bool:
        """Return whether this is the code of the frame, and begin the next one."""
        return hmac.compare_digest(self.finish(), tag)


def seals(key: bytes, said: bytes, role: Literal["master", "slave"]) -> tuple[Seal, Seal]:
    """Return the seals of what this side sends, and of what it receives.

    Args:
        key: the shared key.
        said: a digest of all that was said in the handshake.
        role: which side this is.
    """
    masters, slaves = (Seal(hmac.digest(key, who + said, "sha256")) for who in (b"master seals", b"slave seals"))
    return (masters, slaves) if role == "master" else (slaves, masters)


def ends(sock: socket.socket, role: Literal["master", "slave"]) -> str:
    """Return what both ends of a connection within this machine say alike, and no others; "" for
    any other connection.

    Two addresses and ports name exactly one connection; a stranger who passes on what is said has
    two connections.
    """
    try:
        own, other = sock.getsockname()[:2], sock.getpeername()[:2]
        if not all(ipaddress.ip_address(host).is_loopback for host, _ in (own, other)):
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        namespace = Path("/proc/self/ns/net").readlink()
    except (OSError, ValueError):
        return ""  # not known: the connection stays sealed
    master, slave = (own, other) if role == "master" else (other, own)
    return f"{boot} {namespace} {slave[0]} {slave[1]} {master[0]} {master[1]}"
