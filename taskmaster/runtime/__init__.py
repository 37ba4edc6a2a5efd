"""What a process does beside its work: signals, children, memory, tracebacks. Knows no job and no
run.

``signals`` counts them, ``child_process`` starts and reaps children, ``tracebacks`` shows the
user's frames, ``malloc`` is the one call without which page faults cost more than pickling,
``context`` says in which run and worker code runs. Imported by every room; imports none.
"""
