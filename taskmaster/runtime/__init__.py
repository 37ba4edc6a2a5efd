"""What a process does beside its work. Knows no job and no run.

- ``signals``, ``exit_guard``: its end; ``invocation``: how it was started; ``titles``: its name;
  ``working_directory``, ``green_threads``, ``replaced_clock``, ``replaced_functions``: what it has
  been started in, and what was patched in it; ``put_back``: undoes what Taskmaster has patched;
- ``child_process``, ``exit_word``, ``at_fork``, ``randomness``: processes that it forks;
- ``standard_streams``, ``descriptors``, ``log``, ``log_file``, ``command_log``, ``error_output``,
  ``lost_output``, ``tracebacks``: what it says, and through what;
- ``ownership``: whose a file is;
- ``malloc``, ``garbage``, ``exhaustion``: its memory; ``backoff``: pauses that grow;
- ``context``: in which run and in which worker this code runs.

Imported by every room; imports nothing but the modules at the root.
"""
