"""Where the state of a run is kept. ``contract`` is what every store fulfils; ``sqlite`` is the one
that lasts.

``memory`` forgets (for dry runs and tests), ``default_path`` names the file of a run.
"""
