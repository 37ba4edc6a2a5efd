"""Addresses as people write them.

Called by the commands and by the transport. ``HOST:PORT``, ``[::1]:5050`` and the ``tcp://HOST:PORT`` of release 0.8.2 are one.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from taskmaster.errors import UsageError

__all__ = ["DEFAULT", "Address", "is_loopback", "is_this_machine", "parse"]


class Address(NamedTuple):
    """A host and a port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT = Address("127.0.0.1", 5050)


def parse(text: str) -> Address:
    """Read ``HOST:PORT``, ``HOST``, ``:PORT``, ``[IPV6]:PORT`` or any of these behind ``tcp://``; what is left out is as in ``DEFAULT``.

    Raises:
        UsageError: it is none of these.
    """
    rest = text.strip().removeprefix("tcp://")
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _bad(text)
        port = port[1:]
    elif rest.count(":") > 1:
        host, port = rest, ""  # a bare IPv6 address
    else:
        host, _, port = rest.partition(":")
    if any(char in host for char in " /@[]") or not (host or port):
        raise _bad(text)
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise _bad(text)
    if "*" in host:
        host = "0.0.0.0"
    return Address(host or DEFAULT.host, int(port) if port else DEFAULT.port)


def _bad(text: str) -> UsageError:
    return UsageError(f"{text!r} is no address: give --host=HOST:PORT, as in --host=0.0.0.0:5050 or --host=[::1]:5050.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_this_machine(host: str) -> bool:
    """Whether the host is this machine, under whatever name or address: only an address of its own can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
        except OSError:
            return False
    return bool(found)
