"""Where slaves on an engine reach the master, what is too dangerous to be done, and how long an
engine is waited for.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from taskmaster.errors import UsageError
from taskmaster.transport.address import Address, is_loopback, parse

__all__ = ["check_answers", "check_secrecy", "reached_from", "within"]

Found = TypeVar("Found")

ENCRYPTED = ("tls", "wss", "inproc")


def check_secrecy(scheduler: str, *, insecure: bool) -> None:
    """Refuse to send the key over a network in clear.

    Raises:
        UsageError: The scheduler is on another machine, and not reached with TLS.
    """
    parts = urlsplit(scheduler)
    if parts.scheme in ENCRYPTED or is_loopback(parts.hostname or "") or insecure:
        return
    raise UsageError(
        f"The scheduler {scheduler} is reached without TLS, and the key of this run would travel in clear: who "
        "reads it can run code on the slaves. Use a tls:// scheduler, or accept that with --insecure-engine."
    )


def check_answers(address: str, seconds: float) -> None:
    """Check that something listens at HOST:PORT; what is no such address is left to others.

    Raises:
        OSError: Nothing does, within that time.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def within(seconds: float, ask: Callable[[], Found], name: str) -> Found:
    """Ask an engine in a thread of its own, and return what it says: it may try for minutes, or for
    ever, and signals are to be heard meanwhile.

    Args:
        seconds: How long it is waited for.
        ask: Asks it.
        name: The name of the thread.

    Raises:
        TimeoutError: No answer came in time.
    """
    said: list[Found] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            said.append(ask())
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not said:
        raise TimeoutError(f"it takes connections, and has said nothing for {seconds:.0f} s")
    return said[0]


def reached_from(scheduler: str, listening: Address, advertise: str | None) -> Address:
    """Return where slaves reach the master.

    Args:
        scheduler: The engine's; "" where it is on this machine.
        listening: The master's address.
        advertise: As ``--advertise``.

    Raises:
        UsageError: No slave of that engine could reach it.
    """
    host = urlsplit(scheduler).hostname or ""
    there = not scheduler or scheduler.startswith("inproc") or is_loopback(host)
    if advertise:
        given = parse(advertise)
        return Address(given.host, given.port or listening.port)
    if there:
        return listening.from_here()
    if is_loopback(listening.host):
        raise UsageError(
            f"The engine's workers are on other machines ({scheduler}), and this master listens on {listening}, which "
            "only this machine reaches: give --host=0.0.0.0:5050 and a key (--key-file), and --advertise=HOST:PORT "
            "where the workers reach this machine at another address."
        )
    if listening.is_everywhere:
        return Address(_on_the_way_to(host, urlsplit(scheduler).port or 8786), listening.port)
    return listening


def _on_the_way_to(host: str, port: int) -> str:
    """Return this machine's address on the route to another one; nothing is sent."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, IndexError):
        return socket.gethostname()
