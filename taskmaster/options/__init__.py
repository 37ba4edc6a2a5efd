"""What can be asked of a command or a script, as frozen values that check themselves.

- ``commands``: the options of each command; ``workers``, ``engine``, ``throttle``, ``telling``,
  ``project`` and ``page`` are groups of them;
- ``option``: how an option is declared, once, with its help, its default and its limits;
- ``keywords``: options from the keywords of a script; ``script_spelling``: options in messages, as
  keywords;
- ``hours``: the windows of ``--hours``; ``guard``: how ``--guard`` is written.

Imported by ``cli``, ``api`` and ``runner``. Only ``guard`` reaches out of the room: it has
``postgres`` make its guards, and asks it whether a DSN can be read.
"""
