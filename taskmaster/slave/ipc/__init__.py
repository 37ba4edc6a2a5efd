"""What the two halves of a slave share, its supervisor and its workers.

``messages`` is what they say to each other, ``unusable`` why a worker cannot run the callback,
``worker_spec`` what the fork server is told of a worker; ``scoreboard`` is the memory in which a
worker says which job runs, ``job_clock`` measures for how long one does.

Imports no other room of the slave; ``pool`` and ``worker`` may, and what runs a pool elsewhere.
"""
