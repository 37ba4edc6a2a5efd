"""The master: it owns a run, reads its source, hands its jobs out and writes down how far it is.

``run`` wires the parts together and brings a run to its end; ``service`` is what slaves can ask
for; ``checkpointer`` writes the state; ``completion`` tells how much is settled; ``skew`` compares
the slaves; ``pickling`` makes bytes of jobs. The rooms below are the books (``broker``), the way in
(``reading``), the brakes (``throttle``) and the state (``stores``). Never imports ``slave``.
"""
