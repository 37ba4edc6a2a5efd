"""What can be asked of a command or a script, as frozen values that have checked themselves.

``commands`` has the options of each command, ``throttle`` those that hold a run back. Imported by
``cli``, ``api`` and ``runner``; only ``throttle`` asks ``postgres`` whether a DSN can be read.
"""
