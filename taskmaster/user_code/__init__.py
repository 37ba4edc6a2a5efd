"""What is found out about the user's module, without running its callback.

- ``target``: where a TARGET is, and its import; ``own_imports``: which of two modules of one name
  Taskmaster's own imports get;
- ``arguments``: ``key=value`` words as the types that ``get_jobs`` says it takes;
- ``arity``: whether a function takes what it will be given;
- ``code_version``: which version of the callback's file this is.

Imported by both wings and by ``runner``.
"""
