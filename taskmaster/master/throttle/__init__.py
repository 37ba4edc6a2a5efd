"""How fast jobs may be handed out: ``throttle`` counts out a rate, ``hooks`` asks the user's hooks
and guards.
"""
