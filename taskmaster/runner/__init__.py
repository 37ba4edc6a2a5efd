"""One command from its first word to its last; the only room in which the master's and the slave's
wing meet.

- ``loading``: from a TARGET or a script to one value that says what is run; ``identities``: what
  the run's state belongs to, and where it is, with ``function_names`` and ``surroundings``;
  ``repeated``: two runs of one process;
- ``session``: from that value to a summary; ``announcements``: what is said on the way;
  ``blank_state``: what is left of one that fails at its start; ``optional_parts``: what only some
  sessions have, and load;
  ``progress_hook``: what a script hears on it; ``metrics_file``: what is left for Prometheus;
  ``report_file``: what is left for people, made of ``report_facts``; ``output_file``: where such
  files are; ``slave_command``: how a slave is started;
  ``notifications``: who is told of it, by the ``notifiers``; ``last_events``: what programs hear of
  the end, when it is known;
  ``shared_key``: the key, given, found, asked for or made;
- ``throttling``: what holds a run back, made of options and of what its module names;
- ``local_slave``: the slave of a local run, forked by ``prefork`` before anything else;
- ``engine_choice``: which engine is meant; ``engine_slaves``: the slaves of a run on it, in the
  place of a local one;
  ``engine_fleet``: those of ``tm-slave --engine``; ``executor_slave``: ``tm-slave --executor``;
- ``remote_slave``: ``tm-slave`` on this machine, without anything of the master's wing;
- ``in_process``: jobs in the master's own process, and ``in_process_server`` beside it;
  ``one_job``: only one of them; ``loop``: the event loop of both; ``left_open``: what they have not
  committed;
- ``bad_ends``: what is said and kept of workers that could not end well;
- ``dry_run``, ``sample_run``: trying a source out; ``state_copy``: a look at a state in use;
- ``control``: what ``tm-ctl`` finds out and changes; ``steer_client``: what it asks of a running
  master, ``answer_shapes``: what of the answers can be read; ``steer_state``: what it changes where
  none runs; ``live_settings``: what can be set;
- ``page``: the page of a run, a child process without the key; ``page_plan``: where it is served;
  ``page_tokens``: who may come in; ``page_beside``: beside a master without one;
- ``excepthook``: what becomes of an error that a script does not catch.

Imported by ``cli`` and ``api``.
"""
