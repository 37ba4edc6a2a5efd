"""Steering: what an operator changes in a run while it goes on, and who did it. Pure.

No module here has a thread, a socket, a file or a clock; times are passed in. ``master/service``
lets requests in, ``master/steer_service`` applies them under the master's one lock and answers.

- ``request``: what a client asks for, checked: the command, and the name of the person;
- ``trail``: who changed what, from the last session to this one, and what of it is not written yet;
- ``allowance``: how many changes of a kind there may be;
- ``amounts``: times and rates;
- ``slave_names``: which of the connected slaves a person means;
- ``quiet_slaves``: slaves that get no more jobs, as the state keeps them;
- ``inherited``: what is said at the start of changes that earlier sessions have left;
- ``steered``: what is steered beside the broker;
- ``steering``: applies requests, and remembers what was answered to each.

Guarantees: a request is applied at once or refused, never waited for; the same id again changes
nothing and gives the same answer; what was changed is in the trail before it is answered.
"""

from __future__ import annotations
