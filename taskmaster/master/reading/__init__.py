"""The way of a job into the queue: the source's thread and what it asks.

``source`` is what the user gave, ``reader`` iterates it while there is room, ``dedup`` knows what
was settled before, ``sampler`` lets a share of the jobs through.
"""
