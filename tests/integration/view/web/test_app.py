"""The page's HTTP server, and what it makes of requests that are none."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from taskmaster.view.web.app import PageServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


def test_malformed_requests_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send as many as they like, and each would add a line to the child's errors."""
    unused: Any = None
    answers = []

    async def bad_requests(listening: socket.socket) -> None:
        server = PageServer(unused, unused)
        serving = asyncio.create_task(server.serve(listening))
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"no request at all\r\n\r\n")
            answers.append(await reader.readline())
            writer.close()
        server.stop()
        await serving

    with socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(bad_requests(listening))

    assert {answer.split()[1] for answer in answers} == {b"400"}
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []
