"""How master and slaves talk: ``multiprocessing.managers``, hardened, and named nowhere else."""
