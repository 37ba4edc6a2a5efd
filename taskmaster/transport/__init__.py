"""The wire between master and slaves: ``multiprocessing.managers`` as a hardened network server.

``server`` accepts connections and sees them through the ``handshake``; ``reactor`` is the one
thread that then answers all of them; ``client`` is the other end. ``channel`` and ``frames`` are
what goes over the wire, ``address`` and ``keyfile`` say where and with which key. No other room
names ``multiprocessing.managers``. Nothing is unpickled before a peer has proved that it has the
key.
"""
