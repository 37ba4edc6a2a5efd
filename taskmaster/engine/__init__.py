"""Slaves on somebody's cluster: the engine (Dask, Ray or any Executor) runs whole slaves, as one
task each, and they connect back to the master.

- ``contract``: what an engine has to do; ``slave_task``: what its worker is given, ``ended``:
  what it gives back;
- ``fleet``: how many slaves there should be, and when there is no use in starting more. Pure;
  ``upkeep``: the thread that does what the fleet says;
- ``dask_cluster``, ``ray_cluster``, ``executor``: the engines; only the first two import somebody
  else's package.
  ``fleet_file``: how slaves on this machine hear that they are not wanted any more;
- ``archive``: the user's files, on their way there; ``child``: what runs there;
- ``executor_pool``: the pool of a slave whose batches run on an Executor, for workers that cannot
  reach the master; ``batch_executor``: that Executor, ``batch_call``: what its worker is given,
  ``batch_host``: what runs there, ``host_ends``: how that ends;
  ``executor_shutdown``: how an Executor does;
- ``reach``: where slaves find the master, and what is too dangerous to be done.

Imported by ``runner``. Guarantees: a slave that is lost with its engine's worker costs what was in
flight there; the key is in no repr, log or process list.
"""
