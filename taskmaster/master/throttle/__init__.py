"""Whether jobs may be handed out now: ``throttle`` counts out a rate, ``hooks`` asks the user's
hooks and guards.

Imported by the modules of ``master`` that deal jobs out, and by ``runner``, which makes it.
"""
