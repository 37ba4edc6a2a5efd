"""A simulated fleet: the real master's parts, with slaves that exist in virtual time only.

``python -m benchmarks.fleet --help`` says what can be chosen. ``simulated_master`` puts the parts
together as a run does and measures what they cost; ``simulated_slaves`` drives them; ``phases``
are what is measured.
"""
