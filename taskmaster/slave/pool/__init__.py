"""The supervisor's half of a slave: the worker processes, seen from outside. Never imports
``worker``.

``pool`` has the workers, each a ``worker_process`` that ``fork_client`` has had forked;
``watchdog`` ends those whose job takes too long, ``restart_policy`` says how often a start may
fail; ``buffers`` is memory in which batches lie, ``output`` passes on what callbacks print.
"""
