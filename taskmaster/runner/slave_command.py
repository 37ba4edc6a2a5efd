"""The command that a person copies to start a slave."""

from __future__ import annotations

import shlex
import socket

from taskmaster.options.commands import MasterOptions
from taskmaster.transport.address import Address

__all__ = ["slave_command"]


def slave_command(options: MasterOptions, target: str | None, address: Address, key_file: str | None) -> str:
    """Return the command that a person copies to another terminal or machine.

    Args:
        options: The options of the master.
        target: What slaves run; None if that has no name.
        address: The address of the master.
        key_file: The file that has its key; None if the key comes from elsewhere.
    """
    host = socket.gethostname() if address.is_everywhere else address.host
    parts = ["tm-slave", target or "MODULE:FUNCTION", f"--host={Address(host, address.port)}"]
    if key_file:
        parts.append(f"--key-file={key_file}")
    elif options.key:
        parts.append("--key=KEY")  # the key itself would stay in logs
    return shlex.join(parts)
