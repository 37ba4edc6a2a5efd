"""The way of a job into the queue: what the user gave, and the thread that reads it.

``source`` is what the user gave; ``unsuitable`` says what cannot be one, ``early_end`` notices an
end of it that is none. ``reader`` iterates it while there is room: ``chunks`` says how many jobs at
once, ``weights`` what they weigh, ``early_pickles`` what they were when they were yielded, and
``dedup`` which of them were settled before. ``job_checks`` looks at each job before it is handed
out, ``key_order`` at the order of their keys, ``successor`` and ``resume_point`` at where a resumed
run goes on, and ``second_look`` at whether more comes after the end. ``sampler`` lets a part of the
jobs through, ``reader_by_turns`` reads without a thread.

The rooms of the master and the runner import it. The user's code runs here, and never under the
master's lock.
"""
