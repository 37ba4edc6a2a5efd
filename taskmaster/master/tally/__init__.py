"""What is counted of a run beside its settled jobs. Pure: the time is passed in.

``durations`` is how long jobs take, ``failure_kinds`` what they fail with, ``attempts`` how
attempts end, ``speeds`` how fast the run was of late, ``history`` its numbers over time. Told per
report or per second, never per job.
"""
