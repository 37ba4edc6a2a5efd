"""The page of a run, as the process with the run sees it: a child that serves it, and the line on
which that child asks.

Guarantees: the child never has the run's key; it is started again when it dies, three times a
minute at most; it ends with this process, however that ends; a failure of it never touches the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from taskmaster.master.stores.contract import Store
from taskmaster.master.stores.memory import MemoryStore
from taskmaster.master.summary import View
from taskmaster.runner.announcements import command_again
from taskmaster.runner.page_plan import PagePlan
from taskmaster.runner.page_tokens import KeptPage, Tokens, keep_page, kept_page, new_tokens
from taskmaster.runtime.at_fork import forget_in_children
from taskmaster.runtime.child_process import environment_of_child
from taskmaster.runtime.log import clean_logger
from taskmaster.transport.line import LineEnd
from taskmaster.view.snapshot import Snapshot
from taskmaster.view.web.guard import digest
from taskmaster.view.web.instructions import PageInstructions

__all__ = ["PageView", "ServedPage", "start_page"]

logger = clean_logger(__name__)

MOST_PAGE_STARTS, START_SPAN_SECONDS = 3, 60.0
CHILD_END_SECONDS = 7.0  # for the child to show the end of the run, and then to end itself
PIPE_RETRY_SECONDS = 0.02  # pause before the next attempt to write to a full pipe


class ServedPage:
    """The child process that serves the page. It runs within a ``with`` block, or until ``close``.

    Args:
        plan: The address of the page, and how it is protected.
        answer: Does what the page asks for: called with "look" or "steer", and the arguments.
        state: Path of the run's state, with which the tokens are kept; "" to keep none.
        facts: See ``PageInstructions``.

    Raises:
        ListenError: It cannot be served there.
        UsageError: The tokens cannot be kept.
    """

    def __init__(
        self, plan: PagePlan, answer: Callable[..., Any], *, state: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        self._plan = plan
        self._socket = plan.listen()
        forget_in_children(self)
        self.port: int = self._socket.getsockname()[1]
        self.tokens = self._kept(state)
        self._end = LineEnd(answer, None if plan.readonly else self.tokens.steer)
        self._told = PageInstructions(
            listening=self._socket.fileno(),
            line=-1,
            hosts=plan.names(self.port),
            origins=plan.origins(self.port),
            port=self.port,
            look_digest=digest(self.tokens.look),
            steer_digest=digest(self.tokens.steer),
            readonly=plan.readonly,
            secure=bool(plan.certificate or plan.proxy),
            certificate=plan.certificate and str(Path(plan.certificate).absolute()),
            private_key=plan.private_key and str(Path(plan.private_key).absolute()),
            open_metrics=plan.open_metrics,
            prefix=plan.prefix,
            facts={**(facts or {}), "readonly": plan.readonly},
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: deque[float] = deque(maxlen=MOST_PAGE_STARTS)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="taskmaster-page", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The page's address, with the token for steering, or for looking if nobody may steer."""
        token = self.tokens.look if self._plan.readonly else self.tokens.steer
        return f"{self._plan.url(self.port)}?token={token}"

    @property
    def sentence(self) -> str:
        """What is said of the page at the start."""
        return f"The page that {'shows' if self._plan.readonly else 'shows and steers'} the run: {self.url}"

    def close(self, status: Mapping[str, Any] | None = None) -> None:
        """Let the page show the end of the run, and end it.

        Args:
            status: The status of the run at its end; None if unknown.
        """
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            process = self._process
        if process is not None and process.stdin is not None:
            deadline = time.monotonic() + CHILD_END_SECONDS
            with contextlib.suppress(OSError, ValueError):
                _write(process.stdin.fileno(), json.dumps({"status": status}).encode() + b"\n", deadline)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()
            process.stdin.close()
        self._end.close()
        self._socket.close()
        if self._thread.ident is not None:
            self._thread.join(CHILD_END_SECONDS)

    def forget(self) -> None:
        """Close this process's copies of the listening socket and the page's standard input only.

        For a child that the user's source forks, which must not keep the page alive.
        """
        self._socket.close()
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()

    # -- inside ------------------------------------------------------------------------------------

    def _kept(self, state: str) -> Tokens:
        """Return the tokens that an earlier session has kept, or new ones."""
        known = kept_page(state) if state and not self._plan.new_tokens else None
        tokens = known.tokens if known is not None else new_tokens()
        if state:
            try:
                keep_page(KeptPage(tokens, self._plan.url(self.port), state))
            except BaseException:
                self._socket.close()
                raise
        return tokens

    def _serve(self) -> None:
        """Start the child, answer it, and start it again when it has died."""
        while not self._ended.is_set():
            if len(self._starts) == MOST_PAGE_STARTS:
                self._ended.wait(max(0.0, self._starts[0] + START_SPAN_SECONDS - time.monotonic()))
            self._starts.append(time.monotonic())
            try:
                with tempfile.TemporaryFile() as errors:
                    if not self._begin(errors):
                        self._end.close()
                        return
                    self._end.serve()
                    self._note_end(errors)
            except OSError as exc:
                logger.warning("the page cannot be started: %s; the run goes on", exc)

    def _note_end(self, errors: Any) -> None:
        """Wait for the child, let go of it, and say how it ended if that was not wanted."""
        process = self._process
        code = process.wait() if process is not None else 0
        with self._lock:
            if self._ended.is_set():
                return  # ``close`` lets go of it
            if process is not None and process.stdin is not None:
                process.stdin.close()
        errors.seek(0)
        said = errors.read()[-2000:].decode("utf-8", "replace").strip().rpartition("\n")[2]
        logger.warning(
            "the page has ended (%s%s) and is started again; the run goes on",
            f"by signal {-code}" if code < 0 else f"with {code}",
            f": {said}" if said else "",
        )

    def _begin(self, errors: Any) -> bool:
        """Start the child; False if it is not wanted any more."""
        theirs = self._end.open()
        try:
            flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
            with self._lock:
                if self._ended.is_set():
                    return False
                self._process = process = subprocess.Popen(
                    [sys.executable, *flags, "-P", "-m", "taskmaster.view.web"],
                    stdin=subprocess.PIPE,
                    bufsize=0,  # a buffer has a lock, which a forked child might find taken
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[self._socket.fileno(), theirs.fileno()],
                    process_group=0,
                    # Each thread's memory would take a large part of what the child may have.
                    env={**environment_of_child(), "MALLOC_ARENA_MAX": "2"},
                )
                if process.stdin is not None:
                    told = replace(self._told, line=theirs.fileno()).to_line()
                    _write(process.stdin.fileno(), told, time.monotonic() + CHILD_END_SECONDS)
        except BrokenPipeError:
            pass  # it has ended already, and is waited for
        finally:
            theirs.close()
        return True


def _write(descriptor: int, text: bytes, deadline: float) -> None:
    """Write to the child until then: one that was stopped does not read."""
    os.set_blocking(descriptor, False)
    while text and time.monotonic() < deadline:
        try:
            text = text[os.write(descriptor, text) :]
        except BlockingIOError:
            time.sleep(PIPE_RETRY_SECONDS)


class PageView:
    """A view that shows the run in another view, and at the end tells the page how it ended.

    Args:
        view: Shows the run.
        page: The page.
        describe: Makes a status of a snapshot.
    """

    def __init__(self, view: View, page: ServedPage, describe: Callable[[Snapshot], dict[str, Any]]) -> None:
        self._view = view
        self._page = page
        self._describe = describe

    def update(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""
        self._view.update(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Show it for the last time."""
        self._view.close(snapshot)
        self._page.close(self._describe(snapshot))

    def say(self, line: str) -> None:
        """Print a line of Taskmaster's own."""
        self._view.say(line)


def start_page(plan: PagePlan, answer: Callable[..., Any], store: Store, slave: str, *, sampled: bool) -> ServedPage:
    """Return the page of a run that begins.

    Args:
        plan: The address of the page, and how it is protected.
        answer: Does what the page asks for.
        store: The run's state.
        slave: The command that starts a slave; "" if one was brought along.
        sampled: Whether the state is a scratch one.
    """
    is_kept = not sampled and not isinstance(store, MemoryStore)
    facts = {"resume": command_again(), "slave_command": slave, "state_path": store.location}
    return ServedPage(plan, answer, state=store.location if is_kept else "", facts=facts)
