"""A slave: one supervisor process on a machine, which runs none of the user's code, and its
workers.

``supervisor`` is the loop, which ``interruption`` ends from outside; ``master_link`` is its
connection to the master, which ``connector`` makes; ``exchange_schedule`` says when to ask for
jobs; ``config`` is what it was told, ``last_words`` what it says at its end.

The rooms below never import this one: ``pool`` has the supervisor's side of the worker processes,
``worker`` is what runs in them, ``ipc`` what both sides share. Never imports ``master``.
"""
