"""The state as an SQLite file, which one master owns at a time.

``store`` is the store; ``lock`` says who owns it; ``file`` looks at it before SQLite opens it;
``connection`` opens it, ``rows`` reads and ``checkpoint`` writes what is in it.
"""
