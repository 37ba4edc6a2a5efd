"""The two tokens of a run's page: one for looking, one for steering.

They are kept beside the keys that masters leave, in a file that only its owner can read, by the
place of the state: so a bookmark serves after a restart, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from taskmaster.transport import keyfile

__all__ = ["KeptPage", "Tokens", "keep_page", "kept_page", "new_tokens"]

TOKEN_BYTES = 24


class Tokens(NamedTuple):
    """The tokens of a page."""

    look: str
    steer: str


class KeptPage(NamedTuple):
    """What is kept of a run's page.

    Attributes:
        tokens: Its tokens.
        url: Where it was served last, without a token.
        state: The state of the run.
    """

    tokens: Tokens
    url: str
    state: str


def new_tokens() -> Tokens:
    """Return new tokens."""
    return Tokens(secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES))


def kept_page(state: str) -> KeptPage | None:
    """Return what was kept of the page of a state; None if nothing was, or others can read it.

    Args:
        state: Path of the state.
    """
    directory = keyfile.directory()
    if directory is None:
        return None
    try:
        with _path(directory, state).open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return None
            value = json.loads(file.read(65536))
        return KeptPage(Tokens(str(value["look"]), str(value["steer"])), str(value["url"]), str(value["state"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_page(page: KeptPage) -> None:
    """Keep what belongs to the page of a state, if it is not kept already: a run can be started
    again where nothing can be written beside its state.

    Raises:
        UsageError: It cannot be written.
    """
    if kept_page(page.state) == page:
        return
    kept = {**page.tokens._asdict(), "url": page.url, "state": page.state}
    path = keyfile.keep_private(
        lambda directory: _path(directory, page.state),
        json.dumps(kept).encode(),
        cannot="The page's tokens cannot be kept",
        nothing="no token is kept there",
    )
    _forget_old(path.parent)


def _forget_old(directory: Path) -> None:
    """Remove what belongs to states that are gone."""
    for path in directory.glob(f"page-{_machine()}-*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if not Path(json.loads(path.read_bytes())["state"]).exists():
                path.unlink()


def _path(directory: Path, state: str) -> Path:
    digest = hashlib.sha256(str(Path(state).absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return directory / f"page-{_machine()}-{digest}.json"


def _machine() -> str:
    # A home directory may be shared by several machines.
    return re.sub(r"[^\w.-]", "_", socket.gethostname())
