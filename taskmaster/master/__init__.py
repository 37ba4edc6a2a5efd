"""The master: it owns a run, reads its source, hands its jobs out and writes down how far it is.

``run`` wires the parts together and watches over them; ``ending`` ends a session before all is
done, ``farewell`` waits for the slaves when all is; ``service`` is what slaves may call,
``dispatch`` the way out to them, ``reports`` the way back. ``checkpointer`` writes the state.
``run_status`` says how the run stands, ``run_details`` what else there is to say of that;
``completion`` says how much is settled, ``standing`` what is waited for, ``summary`` what a session
comes to, ``remarks`` what that means. ``skew`` compares the slaves.

``steer_service`` lets a run be steered and looked at, ``failed_choice`` knows which failed jobs an
operator means; ``condition`` and ``why`` say why it is no faster, ``work_time`` for how long it was
at work, ``slave_figures`` what each slave has done. ``event_watch`` finds out what has happened,
``events`` keeps it, and ``event_feed`` tells it.

The rooms below never import this one: ``records`` is what all of them speak of, ``tally`` counts
durations, failures and history, ``broker`` knows which job is where, ``reading`` is the way in,
``steering`` what an operator changes, ``throttle`` the brake, ``stores`` the state. Never imports
``slave``; only ``runner``, ``cli`` and ``api`` import this room.
"""
