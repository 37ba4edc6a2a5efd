"""The page's process; see ``taskmaster.view.web``."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import threading

from taskmaster.transport.line import Line
from taskmaster.view.metrics import metrics
from taskmaster.view.web.app import PageServer
from taskmaster.view.web.feed import Feed
from taskmaster.view.web.guard import PageGuard
from taskmaster.view.web.instructions import PageInstructions

MOST_MEMORY_BYTES = 512 * 1024 * 1024


def main() -> None:
    """Serve the page until standard input says that the run is over, or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the master's, which then ends this process
    _, highest = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux" and (highest == resource.RLIM_INFINITY or highest > MOST_MEMORY_BYTES):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    told = PageInstructions.from_line(sys.stdin.buffer.readline())
    asyncio.run(_serve(told))


async def _serve(told: PageInstructions) -> None:
    feed = Feed(Line(socket.socket(fileno=told.line)), told.facts)
    server = PageServer(PageGuard(told), feed, metrics)
    loop = asyncio.get_running_loop()

    async def end(line: bytes) -> None:
        feed.end(json.loads(line).get("status"))
        await feed.seen()
        server.stop()

    def listen() -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            os._exit(0)  # the master is gone, and nobody may outlive it
        asyncio.run_coroutine_threadsafe(end(line), loop)
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=listen, name="taskmaster-lifeline", daemon=True).start()
    await server.serve(socket.socket(fileno=told.listening), told.certificate, told.private_key)


if __name__ == "__main__":
    main()
