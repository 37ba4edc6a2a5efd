"""One command from its first word to its last; the only room in which the master's and the slave's
wing meet.

``session`` brings a run from an open store to its summary; ``local_slave`` is the slave that a
local run brings along, forked by ``prefork`` before anything else. ``dry_run`` and ``sample_run``
try a source out, ``control`` is the side of ``tm-ctl``, ``excepthook`` shows an error to somebody
who runs a script. Imported by ``cli`` and ``api``.
"""
