"""What tests share: commands that are run, a ledger, servers, worlds, Django's models.

``playground`` is a directory with a module and the commands that run in it, ``commands`` runs one
of them, ``ledger`` is what jobs write down and shares no code with Taskmaster, ``relay`` is a
network that fails. ``postgres_server`` starts PostgreSQL, ``ports`` hands out ports, ``locks`` and
``text_orders`` are for its tests. ``world``, ``planned_world`` and ``file_disk`` are the
simulation. ``django_projects`` and ``library`` are a Django project. ``proof`` says how large a
proof is.
"""
