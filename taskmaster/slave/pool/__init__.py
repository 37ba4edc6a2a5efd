"""The supervisor's half of a slave: the worker processes, seen from outside. Never imports
``worker``.

``contract`` is what a supervisor needs of it. ``in_flight`` is what the slave holds and has to
report, each a ``held_batch``; ``batch_size`` says how many jobs it asks for. ``pool`` gives batches
to workers and hears what they say; ``workforce`` starts, replaces and ends them, each a
``worker_process`` that ``fork_client`` has had forked; ``retirement`` says which are replaced,
``rests`` which pause, ``worker_ends`` how they end; ``watchdog`` ends those whose job takes too
long, ``restart_policy`` says how often a start may fail; ``buffers`` is the ``shared_memory`` in
which batches lie, ``output`` passes on what callbacks print.
"""
