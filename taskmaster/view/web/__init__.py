"""The page: what a browser sees of a run, in a process of its own that never has the run's key.

- ``instructions``: what the process is told when it is started;
- ``guard``: who may come in, and the headers of each answer. Pure;
- ``routes``: which path gives what, and what a command to the run looks like. Pure;
- ``answers``: what the master has said, as the page has it: cleaned, and cut to a bounded size.
  Pure;
- ``assets``: the files of ``static``;
- ``feed``: asks the master, about once a second, while somebody looks;
- ``app``: the HTTP server; the only module that imports uvicorn.

``python -m taskmaster.view.web`` is the process. It talks to the master over an inherited line
(``taskmaster.transport.line``), and ends when its standard input does. Guarantees: nothing is shown
without a token; what is shown is text, never markup; nothing leads off the origin.
"""
