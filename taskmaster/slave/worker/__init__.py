"""The worker's half of a slave: the process in which the user's code runs. Never imports ``pool``.

``worker`` runs the callback, one job at a time; ``concurrency`` several at once; ``callbacks``
finds it; ``fork_server`` is the small process from which workers are forked.
"""
