"""A script with a ``multiprocessing.Pool``, as short as one can be: what ``tm-run`` is compared
with in W6.
"""

import sys
from multiprocessing import Pool

from benchmarks.works import WORKERS, integers, nothing

if __name__ == "__main__":
    with Pool(WORKERS) as pool:
        print(sum(1 for _ in pool.imap_unordered(nothing, integers(sys.argv[1]))))
