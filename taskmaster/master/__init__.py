"""The master: it owns a run, reads its source, hands its jobs out and writes down how far it is.

``run`` wires the parts together and watches over them; ``ending`` ends a session before all is
done; ``service`` is what slaves may call, ``dispatch`` the way out to them, ``reports`` the way
back. ``checkpointer`` writes the state; ``run_record`` and ``job_records`` are what it keeps.
``run_status`` says how the run stands, ``completion`` how much is settled, ``standing`` what it
waits for, ``summary`` what it comes to, ``remarks`` what that means. ``skew`` compares the slaves,
``run_identity`` says what a state belongs to, ``job_identity`` tells jobs apart, ``pickling`` makes
bytes of them.

The rooms below: ``broker`` knows which job is where, ``reading`` is the way in, ``throttle`` the
brake, ``stores`` the state. Never imports ``slave``; only ``runner`` and ``cli`` import this room.
"""
