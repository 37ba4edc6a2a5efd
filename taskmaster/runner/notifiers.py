"""What notifies somebody: a command, or a webhook.

Each has its own time; a command that is over its time is killed with its process group. The address
of a webhook is a secret, and in no message.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import Any, Protocol

from taskmaster import __version__
from taskmaster.redaction import clean, is_url, without_path
from taskmaster.runtime.log import clean_logger

__all__ = ["CommandNotifier", "Notifier", "WebhookNotifier", "notifier_of"]

logger = clean_logger(__name__)

COMMAND_SECONDS = 30.0
WEBHOOK_ATTEMPT_SECONDS = 10.0  # longest wait for the answer to one attempt
ATTEMPTS = 3
BACKOFF_SECONDS = 1.0  # before the second attempt; it doubles
WAIT_STEP_SECONDS = 0.05  # between two checks whether a command still runs
LONGEST_OUTPUT = 2000  # characters that are logged of what a command has printed
MOST_PRINTED_BYTES = 1 << 20  # that are kept of what a command prints while it runs
SECRETS = ("TASKMASTER_KEY", "TASKMASTER_NOTIFY")  # variables that no command gets


class Notifier(Protocol):
    """Tells somebody of an event.

    Attributes:
        shown: What it is called in messages; holds no secret.
    """

    shown: str

    def send(self, event: Mapping[str, Any], hurry: threading.Event) -> str:
        """Tell of an event; return "", or why that was not possible.

        Args:
            event: What has happened.
            hurry: Is set when there is no more time.
        """


def notifier_of(given: str) -> Notifier:
    """Return the notifier that an option names."""
    return WebhookNotifier(given.strip()) if is_url(given) else CommandNotifier(given)


def environment_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that a command finds an event in."""
    facts = {
        "EVENT": event["event"],
        "RUN": event["run"],
        "TARGET": event["target"],
        "STATE": event["state_file"],
        "RUN_STATE": event["state"],
        "REASON": event["reason"],
        "TEXT": event["text"],
        "SETTLED": event["settled"],
        "FAILED": event["failed"],
        "TOTAL": event["total"],
        "ETA_SECONDS": event["eta"],
        "ELAPSED_SECONDS": event["elapsed"],
        "EXIT_CODE": event.get("exit_code"),
        "RESUME_COMMAND": event["resume"],
    }
    # A zero byte would keep the command from being started.
    return {f"TASKMASTER_{name}": "" if value is None else clean(str(value)) for name, value in facts.items()}


class CommandNotifier:
    """Runs a command of the shell: the event is in its environment, and on its standard input."""

    def __init__(self, command: str, seconds: float = COMMAND_SECONDS) -> None:
        self.shown = f"the command {clean(command)[:60]!r}"
        self._command = command
        self._seconds = seconds

    def send(self, event: Mapping[str, Any], hurry: threading.Event) -> str:
        """As in ``Notifier``."""
        # Files, not pipes: nothing waits here for what the command reads or what has its output.
        with ExitStack() as stack:
            given, printed = self._files(stack, json.dumps(event).encode() + b"\n")
            environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=given,
                stdout=subprocess.DEVNULL if printed is None else printed,
                stderr=subprocess.STDOUT,
                env={**environment, **environment_of(event)},
                start_new_session=True,
            )
            kept = _Printed(printed)
            why = self._ended(process, hurry, kept)
            output = kept.beginning().decode("utf-8", "replace").strip()[:LONGEST_OUTPUT]
        if output:
            logger.log(30 if why else 20, "%s has printed: %s", self.shown, output)
        return why

    def _files(self, stack: ExitStack, text: bytes) -> tuple[Any, Any]:
        """Return what the command reads, and what has its output.

        On a disk that is full, which is just what somebody may have to be told, it reads from a
        pipe, as far as one holds the text, and its output is lost.
        """
        try:
            given = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            printed = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            given.write(text)
            given.seek(0)
        except OSError:
            reads, writes = os.pipe()
            stack.callback(os.close, reads)
            os.set_blocking(writes, False)
            with suppress(OSError):
                os.write(writes, text)
            os.close(writes)
            return reads, None
        return given, printed

    def _ended(self, process: subprocess.Popen[bytes], hurry: threading.Event, printed: _Printed) -> str:
        """Wait for the command; return why it has not done what it should, or ""."""
        deadline = time.monotonic() + self._seconds
        while process.poll() is None and time.monotonic() < deadline and not hurry.is_set():
            printed.bound()
            time.sleep(WAIT_STEP_SECONDS)
        code = process.poll()
        if code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "it was killed: " + ("the run is over" if hurry.is_set() else f"it took {self._seconds:g} s")
        return "" if code == 0 else f"it ended with {code}"


class _Printed:
    """What a command prints, in a file that is cut where it grows: a command that prints without
    end fills no disk.

    Args:
        file: The file; None if there is none.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._beginning: bytes | None = None

    def beginning(self) -> bytes:
        """Return the first of it."""
        if self._beginning is not None or self._file is None:
            return self._beginning or b""
        return os.pread(self._file.fileno(), 4 * LONGEST_OUTPUT, 0)

    def bound(self) -> None:
        """Keep the beginning alone of what is too much; what follows is written behind a hole."""
        if self._file is None:
            return
        blocks = os.fstat(self._file.fileno()).st_blocks
        if blocks * 512 > MOST_PRINTED_BYTES:
            self._beginning = self.beginning()
            os.ftruncate(self._file.fileno(), 0)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: the event was not meant for another host."""

    def redirect_request(self, *_: Any) -> None:
        """Do not follow."""


class WebhookNotifier:
    """Posts the event as JSON; its ``text`` is what Slack, Mattermost and Teams show."""

    def __init__(self, url: str, seconds: float = WEBHOOK_ATTEMPT_SECONDS, backoff: float = BACKOFF_SECONDS) -> None:
        self.shown = without_path(url)
        self._url = url
        self._seconds = seconds
        self._backoff = backoff
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, event: Mapping[str, Any], hurry: threading.Event) -> str:
        """As in ``Notifier``."""
        body = json.dumps({**event, "text": for_chat(str(event["text"]))}).encode()
        why, again = "", True
        for attempt in range(ATTEMPTS):
            if attempt and hurry.wait(self._backoff * 2 ** (attempt - 1)):
                break
            why, again = self._post(body)
            if not again:
                break
        return why

    def _post(self, body: bytes) -> tuple[str, bool]:
        """Post once; return why it failed, or "", and whether to try again."""
        headers = {"Content-Type": "application/json", "User-Agent": f"taskmaster/{__version__}"}
        try:
            request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310  # http or https
            with self._opener.open(request, timeout=self._seconds):
                return "", False
        except urllib.error.HTTPError as exc:
            exc.close()
            if exc.code in range(300, 400):
                return f"it answers with {exc.code}, which leads elsewhere and is not followed", False
            busy = exc.code >= HTTPStatus.INTERNAL_SERVER_ERROR or exc.code == HTTPStatus.TOO_MANY_REQUESTS
            return f"it answers with {exc.code}", busy
        except Exception as exc:
            # Its text may hold the address.
            reason = getattr(exc, "reason", exc)
            known = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
            return f"it cannot be reached: {known}", True


def for_chat(text: str) -> str:
    """Return a text in which nothing calls anybody or is a link, where a chat shows it: a key or a
    message of an exception may be ``<!channel>`` or ``@all``.
    """
    escaped = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("@", "@\N{ZERO WIDTH SPACE}")
