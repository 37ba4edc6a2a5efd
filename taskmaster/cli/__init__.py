"""The commands ``tm-master``, ``tm-slave``, ``tm-spawn``, ``tm-run`` and ``tm-ctl``: they parse,
call and exit.

Whatever they do is in ``taskmaster.api``, which they import when they run, so that ``--help`` is
there at once.
"""
