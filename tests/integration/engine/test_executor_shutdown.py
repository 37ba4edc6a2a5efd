"""An executor is shut down."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from taskmaster.engine.executor_shutdown import shut_down


def test_a_shutdown_that_hangs_is_not_waited_for_for_ever() -> None:
    """And is said, as one that raises."""
    go = threading.Event()

    class Hanging:
        def shutdown(self, **_: Any) -> None:
            go.wait()

    assert shut_down(Hanging(), 0.1, lambda: False) == "the executor had not ended after 0 s"
    assert shut_down(Hanging(), 60.0, lambda: True).startswith("the executor had not ended")
    go.set()
    assert shut_down(object(), 60.0, lambda: False).startswith("the executor could not be shut down: AttributeError")
    assert shut_down(ThreadPoolExecutor(1), 60.0, lambda: False) == ""
