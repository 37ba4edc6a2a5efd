"""How much Python a call runs, counted in instructions: the same on every machine, unlike its
time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def steps(call: Callable[[], object]) -> int:
    """Count the instructions of the interpreter that a call takes, in Taskmaster's code and the
    library's.
    """
    # From Python 3.12 on, a trace function misses those of each function's first call.
    return monitored(call) if sys.version_info >= (3, 12) else traced(call)


def monitored(call: Callable[[], object]) -> int:
    """Count them by ``sys.monitoring``, which Python has from 3.12 on."""
    counted = 0
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]

    def count(_: CodeType, __: int) -> None:
        nonlocal counted
        counted += 1

    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "steps")
    monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION, count)
    monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION)
    try:
        call()
    finally:
        monitoring.set_events(monitoring.DEBUGGER_ID, 0)
        monitoring.free_tool_id(monitoring.DEBUGGER_ID)
    return counted


def traced(call: Callable[[], object]) -> int:
    """Count them by a trace function."""
    counted = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal counted
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(former)
    return counted
