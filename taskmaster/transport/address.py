"""Addresses as people write them.

``HOST:PORT``, ``[::1]:5050`` and the ``tcp://HOST:PORT`` of release 0.8.2 are one. Guarantees: what
``parse`` gives can be handed to the socket module, which may not find it, but does not choke.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import NamedTuple

from taskmaster.errors import UsageError

__all__ = ["DEFAULT_ADDRESS", "Address", "is_loopback", "is_this_machine", "parse"]


EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # and how this machine reaches what listens there


class Address(NamedTuple):
    """A host and a port; port 0 is any free one."""

    host: str
    port: int

    @property
    def is_everywhere(self) -> bool:
        """Whether what listens there listens on all addresses of its machine."""
        return self.host in EVERYWHERE

    def from_here(self) -> Address:
        """Return where this machine reaches what listens there."""
        return Address(EVERYWHERE.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_ADDRESS = Address("127.0.0.1", 5050)


def parse(text: str) -> Address:
    """Read ``HOST:PORT``, ``HOST``, ``PORT``, ``:PORT``, ``[IPV6]:PORT`` or any of these behind
    ``tcp://``.

    A part that is left out is taken from ``DEFAULT_ADDRESS``.

    Raises:
        UsageError: it is none of these.
    """
    rest = text.strip().removeprefix("tcp://")
    if rest.isascii() and rest.isdigit():
        rest = f":{rest}"  # the socket module would take it for the IPv4 address 0.0.x.y
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _bad(text)
        port = port[1:]
        if not _is_ipv6(host):
            raise _bad(text)
    elif rest.count(":") > 1:
        host, port = rest, ""
        if not _is_ipv6(host):
            raise _bad(text)
    else:
        host, _, port = rest.partition(":")
    if not (host or port) or not _is_host(host):
        raise _bad(text)
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        raise _bad(text)
    if host == "*":
        host = "0.0.0.0"  # noqa: S104  # release 0.8.2 wrote it with an asterisk; without a key it is refused
    return Address(host or DEFAULT_ADDRESS.host, int(port) if port else DEFAULT_ADDRESS.port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    """Return whether the socket module can look a name up; for some texts it raises what is no
    OSError.
    """
    if not host.isprintable() or any(char in host for char in " /@[]"):
        return False
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _bad(text: str) -> UsageError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return UsageError(
        f"{shown!r} is not an address: give --host=HOST:PORT, as in --host=0.0.0.0:5050 or --host=[::1]:5050."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_this_machine(host: str) -> bool:
    """Return whether the host is this machine, under any of its names and addresses: only an
    address of its own can be bound.
    """
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    own = 0
    for family, kind, protocol, _, address in found:
        if is_loopback(str(address[0])):
            own += 1  # even where it cannot be bound: containers name ::1 in /etc/hosts and have no IPv6
            continue
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
        except OSError as exc:
            if exc.errno == errno.EAFNOSUPPORT:
                continue  # nobody here can connect to it either
            return False
        own += 1
    return own > 0
