"""What systemd makes of a unit of a service, as far as Taskmaster's units go."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

__all__ = ["Unit"]


class Unit:
    """A template of a service.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
        self._settings = {name: value for name, _, value in (line.partition("=") for line in lines)}

    def __getitem__(self, name: str) -> str:
        return self._settings[name]

    def command(self, instance: str, variables: dict[str, str]) -> list[str]:
        """What an instance runs."""
        line = self["ExecStart"].replace("%i", instance)
        return shlex.split(re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], line))

    def end_of(self, code: int) -> str:
        """What becomes of a service whose process has ended with a code: systemd.service(5)."""
        if code == 0 or str(code) in self["SuccessExitStatus"].split():
            return "clean"
        assert self["Restart"] == "on-failure"
        return "failed" if str(code) in self["RestartPreventExitStatus"].split() else "restarted"

    @property
    def stop_seconds(self) -> float:
        """How long a service has to end until it is killed."""
        return float(self["TimeoutStopSec"])
