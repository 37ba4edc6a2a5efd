"""Whether jobs may be handed out now, and how fast.

- ``throttle`` counts out a rate and puts all of it together; ``hooks`` asks the user's hooks and
  guards; ``moves`` says what a slow run does more slowly;
- ``pacing`` probes a database; ``pace_controller`` finds the share of full speed that it bears,
  ``probe_level`` what the probes say, ``foreground`` what the server's count of statements says,
  ``pace_advice`` what is said of a limit that cannot be held, or was not.

Imported by the modules of ``master`` that deal jobs out, and by ``runner``, which makes it.
"""
