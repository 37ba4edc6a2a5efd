"""The commands: they parse a command line, call ``taskmaster.api`` or ``runner``, and end with an
exit code.

- ``master``, ``run``, ``slave`` (``tm-slave`` and ``tm-spawn``), ``ctl``, ``web``: a command each;
- ``steering``, ``looking``, ``reporting``: the commands of ``ctl`` that ask a running master;
  ``which_run``: what they have in common;
- ``probing``: its command that asks a database;
- ``options``: from declared options to those of a command line; ``config_file``: from a file;
- ``slips``: what was meant by an option that a command does not have; ``variables``: by a variable;
- ``command``: how a command begins and ends; the only place where an error becomes an exit code;
- ``completing``: what the shell completes;
- ``failures``, ``watching``, ``echo``: what is printed; ``pid1``: a command as the first process of
  a container.

Imported by nobody. A command imports what does its work when it runs, so that ``--help`` is quick.
"""

import os
import signal
import sys

COMMAND_PREFIX = "tm-"  # how the names of our commands begin


def _end_quietly() -> None:
    """Let Ctrl-C end a command that is still being loaded as it ends any other program, and not
    with a traceback of what Python was just importing.
    """
    name = sys.argv[0].rpartition(os.sep)[2] if sys.argv else ""  # pathlib is not loaded yet
    if name.startswith(COMMAND_PREFIX) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


_end_quietly()
