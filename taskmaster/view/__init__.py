"""What people and programs see of a run. This room only reads a ``Snapshot`` and changes nothing.

``snapshot`` is the run at one moment; ``status`` makes text and JSON of it, ``time_left`` says when
it will be over; ``metrics`` are for Prometheus; ``progress`` draws a bar or writes lines, ``watch``
draws what ``tm-ctl`` watches; ``console`` is all that a person sees of a run, log lines included;
``report`` is a page of HTML about a run, made of ``html_parts`` in the ``report_style``, with its
``plot``; its last part, ``report_jobs``, lists the failed jobs. Imports nothing but the modules at
the root and ``runtime``. ``web`` is the page in a browser, a room and a process of its own.
"""
