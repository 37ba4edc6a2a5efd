"""The worker's half of a slave: the process in which the user's code runs. Never imports ``pool``.

``worker`` runs the callback, one job at a time; ``concurrency`` several at once; ``callbacks``
finds it, ``results`` looks at what it returns, ``job_lists`` at what it leaves in its list,
``unawaited`` and ``dropped_futures`` at what it throws away, ``given_away`` at what fails of what
it gives to threads and executors, ``attempts`` says of which job that was, ``event_loop`` awaits
the rest; ``stopwatch`` takes times; ``message_sender`` says what came of a job, and ``elsewhere``
what is missing on an engine; ``ending`` leaves nothing undone at the end, with what
``daemon_threads``, ``finalizers``, ``open_files``, ``open_transactions`` and ``left_programs``
find; ``queue_use`` says what a thread does with a queue; ``forked_children`` keeps a child of the
callback from speaking as the worker. ``fork_server`` is the small process from which workers are
forked.
"""
