"""Compare all shards, one after the other: ``python examples/check_all_shards.py 0 1 2 3``.

Run it again to go on where it was: a shard that is finished takes no time.
"""

import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).with_name("check_shards.py")
FAILED = 3  # the run has finished, and some of its jobs have failed

failed = []
for shard in sys.argv[1:]:
    print(f"shard {shard}", flush=True)
    code = subprocess.run(["tm-run", str(CHECK), "4", f"shard={shard}"], check=False).returncode
    if code == FAILED:
        failed.append(shard)
    elif code != 0:
        sys.exit(code)
if failed:
    print(f"Some ranges of these shards could not be compared: {' '.join(failed)}")
    sys.exit(FAILED)
