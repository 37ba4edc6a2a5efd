"""The state as an SQLite file, which one master owns at a time.

``store`` is the store; ``lock`` keeps a second master out, and ``owner`` other users; ``file``
looks at the file before SQLite opens it, and ``connection`` opens it. ``rows`` has the tables,
``queries`` reads and ``checkpoint`` writes them, ``validation`` says what they may hold;
``steering`` has those of steering, ``history`` that of the history; ``belonging`` says which run a
state is of, and ``glance`` what it holds, without its lock.
"""
