"""What the core calls of the Django part, in a process without settings."""

from __future__ import annotations

import subprocess
import sys

CORE = """
import sys
import taskmaster.api, taskmaster.cli.run, taskmaster.slave.worker.worker, taskmaster.slave.worker.fork_server
from taskmaster.django_orm import integration

integration.set_up_project()
integration.refresh_connections()
integration.close_connections()
integration.close_before_fork()
integration.drop_after_fork()
print(integration.as_source([1]), [name for name in sys.modules if name.partition(".")[0] == "django"])
"""


def test_nothing_of_django_is_imported_without_settings():
    """Whatever the core calls of it."""
    done = subprocess.run([sys.executable, "-c", CORE], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("[1] []\n", "")
