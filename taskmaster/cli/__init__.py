"""The commands ``tm-master``, ``tm-slave``, ``tm-spawn``, ``tm-run`` and ``tm-ctl``: they parse a
command line, call ``taskmaster.api`` or ``runner``, and end with an exit code.

``options`` has the spelling of every option and the one place where an error becomes an exit code.
What does the work is imported when a command runs, so that ``--help`` is quick.
"""
