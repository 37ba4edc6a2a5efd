"""What all rooms of the master speak of: a run and its jobs, as they are kept, and what tells them
apart.

``job_records``, ``run_record``, ``minute_row`` and ``steering_records`` are what a state keeps: of
jobs, of the run, of its history, and of what an operator has changed. ``job_identity`` tells jobs
apart, ``fingerprints`` recognise them after a resume, ``key_equality`` says which keys are one to a
database, ``run_identity`` what a state belongs to; ``pickling`` makes bytes of jobs.

Imports no other room of the master; each of them may import it.
"""
