"""How master and slaves talk: ``multiprocessing.managers``, hardened, and named nowhere else.

From below: ``plain`` (values as pickles), ``seal`` (a code for each frame), ``frames``, ``channel``
(frames over a socket), ``handshake``; ``listener``, ``reactor`` and ``server`` are the master's
side, ``client`` the slave's; ``line`` leads to a child process that has no key; ``address`` and
``keyfile`` read what people give. Both wings use it;
it knows neither of them. Guarantees: nothing is unpickled before both sides have proved the key,
and then plain values only; what a peer does, or does not do, never keeps the others waiting.
"""
