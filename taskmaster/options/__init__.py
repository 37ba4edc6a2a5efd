"""What can be asked of a command or a script, as frozen values that check themselves.

- ``commands``: the options of each command; ``throttle`` and ``project`` are groups of them;
- ``option``: how an option is declared, once, with its help, its default and its limits;
- ``keywords``: options from the keywords of a script; ``script_spelling``: options in messages, as
  keywords;
- ``hours``: the windows of ``--hours``.

Imported by ``cli``, ``api`` and ``runner``. Only ``throttle`` reaches out of the room: it asks
``postgres`` whether a guard and its DSN can be read.
"""
