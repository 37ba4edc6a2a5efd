"""A slave: one supervisor process on a machine, which runs none of the user's code, and its
workers.

``supervisor`` is the loop, which ``interruption`` ends from outside; ``master_link`` is its
connection to the master, which ``connector`` makes; ``in_flight`` is what it holds and has to
report; ``batch_size`` says how many jobs to ask for, ``exchange_schedule`` when; ``config`` is what
it was told, ``worker_spec`` what its workers are, ``unusable`` why they cannot run the callback,
``last_words`` what it says at its end.
``pool`` has the supervisor's side of the worker processes and ``worker`` is what runs in them;
``messages``, ``scoreboard`` and ``job_clock`` are what both sides share. Never imports ``master``.
"""
