"""What the page's process is told when it is started: one line of JSON on its standard input.
Pure.
"""

from __future__ import annotations

import json
from dataclasses import asdict, field
from typing import Any, Self

from taskmaster.records import record

__all__ = ["PageInstructions"]


@record(slots=False)
class PageInstructions:
    """The instructions for the page's process.

    Attributes:
        listening: Descriptor of the socket that the server listens on.
        line: Descriptor of the line to the master.
        hosts: What the ``Host`` header of a request may be.
        origins: Origins that a request which changes something may come from.
        port: The port of the server, for the cookie's name: browsers send cookies to every port of
            a host.
        look_digest: SHA-256 of the token for looking, in hexadecimal digits.
        steer_digest: The digest of the token for steering.
        readonly: Whether nobody may steer, with any token.
        secure: Whether browsers see the page under https.
        certificate: File with the certificate; "" if it serves plain HTTP.
        private_key: File with the key of the certificate.
        open_metrics: whether /metrics needs no token.
        prefix: What a proxy serves the page under, such as "/backfill"; "" for all of a host.
        facts: What the page shows of the run that the status does not tell: ``resume``, the command
            that resumes it, ``slave_command``, which starts a slave, and ``state_path``, the path
            of its state.
    """

    listening: int
    line: int
    hosts: list[str]
    origins: list[str]
    port: int
    look_digest: str
    steer_digest: str
    readonly: bool = False
    secure: bool = False
    certificate: str = ""
    private_key: str = ""
    open_metrics: bool = False
    prefix: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes | str) -> Self:
        """Return what was sent."""
        return cls(**json.loads(line))
