"""The shared key: given, or else made, found or asked for.

The key belongs to the address of a master: a master without one makes it and leaves it for slaves
of the same user on this machine.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable

from taskmaster.errors import ConnectError, UsageError
from taskmaster.options.commands import MasterOptions, SlaveOptions
from taskmaster.records import record
from taskmaster.runtime.invocation import source_of
from taskmaster.runtime.log import clean_logger
from taskmaster.transport import keyfile
from taskmaster.transport.address import Address, is_loopback, is_this_machine, parse

__all__ = ["SharedKey", "address_of", "of_master", "of_slave"]

logger = clean_logger(__name__)


@record(slots=False, shown=False)
class SharedKey:
    """A master's key.

    Attributes:
        text: The key itself.
        generated: Whether it was made, and not given; slaves of this user on this machine find it.
        file: The file that has it; None if it comes from elsewhere.
    """

    text: str
    generated: bool
    file: str | None = None

    def leave(self, port: int, *, needed: bool) -> None:
        """Leave the key for slaves on this machine.

        Args:
            port: The port of the master.
            needed: Whether slaves have no other way to it, so that a home that cannot be written
                matters.

        Raises:
            UsageError: It is needed and cannot be left.
        """
        try:
            keyfile.leave(port, self.text)
        except UsageError as exc:
            if needed:
                raise
            logger.info("%s", exc)


def address_of(options: MasterOptions) -> Address:
    """Return where a master listens; a run that nobody from elsewhere joins has a free port."""
    return parse(options.host) if options.host else Address("127.0.0.1", 0)


def of_master(options: MasterOptions) -> SharedKey:
    """Return the key that was given to a master, else a new one.

    Raises:
        UsageError: There is no key, and other machines reach the address.
    """
    address = address_of(options)
    text, file = keyfile.resolve(options.key, options.key_file, os.environ, source_of("key_file"))
    if text is None:
        if not is_loopback(address.host):
            raise UsageError(
                f"{address} can be reached from other machines, and there is no key: anybody there could run "
                "code on the slaves. Make a key with `tm-ctl keygen tm.key` and give it with --key-file=tm.key."
            )
        return SharedKey(keyfile.generate(), generated=True)
    if keyfile.weak(text) and not is_loopback(address.host):
        sys.stderr.write("taskmaster: the key is short enough to be guessed; `tm-ctl keygen` makes one that is not.\n")
    return SharedKey(text, generated=False, file=file)


def of_slave(target: str, options: SlaveOptions, address: Address) -> Callable[[], str | None]:
    """Return a function that gives the key for the next connection: a master that was restarted may
    have a new one.
    """
    given, file = keyfile.resolve(options.key, options.key_file, os.environ, source_of("key_file"))
    if given is None and not is_this_machine(address.host):
        given = _ask(target, address)

    def provide() -> str | None:
        if file is not None:
            return keyfile.read(file)
        return given if given is not None else keyfile.find(address.port)

    return provide


def _ask(target: str, address: Address) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        import click

        return str(click.prompt(f"Key of the master at {address}", hide_input=True, err=True))
    command = shlex.join(["tm-slave", target, f"--host={address}", "--key-file=tm.key"])
    raise ConnectError(
        f"The master at {address} is on another machine, and there is no key for it. Copy the master's key file to "
        f"this machine and run: {command}"
    )
