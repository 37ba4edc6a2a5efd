"""Where slaves reach a master, and the command that a person copies to start one."""

from __future__ import annotations

import shlex
import socket

from taskmaster.options.commands import MasterOptions
from taskmaster.transport.address import Address

__all__ = ["reached", "slave_command"]

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens there is reached here from this machine


def slave_command(options: MasterOptions, target: str | None, address: Address) -> str:
    """Return the command that a person copies to another terminal or machine.

    Args:
        options: Of the master.
        target: What slaves run; None if that has no name.
        address: Where the master listens.
    """
    host = socket.gethostname() if address.host in EVERYWHERE else address.host
    parts = ["tm-slave", target or "MODULE:FUNCTION", f"--host={Address(host, address.port)}"]
    if options.key_file:
        parts.append(f"--key-file={options.key_file}")
    elif options.key:
        parts.append("--key=KEY")  # its text would stay in logs
    return shlex.join(parts)


def reached(address: Address) -> Address:
    """Return where a master is reached from its own machine."""
    return Address(EVERYWHERE.get(address.host, address.host), address.port)
