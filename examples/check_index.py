"""Check what index_python.py found against a plain ``for`` loop, row by row: ``check_index.py
DATABASE [ROOT]``.
"""

import sqlite3
import sys
import time
from pathlib import Path

import index_python

ROWS = "SELECT path, module, definitions, lines, error FROM files ORDER BY path"


def loop(root):
    """Do the whole job in this process, without Taskmaster, and return the rows."""
    index_python.DATABASE = ":memory:"
    index_python.setup()
    for path in index_python.get_jobs(root):
        index_python.handle_job(path)
    return index_python.connection.execute(ROWS).fetchall()


def main(database, root=None):
    """Print the report; return 1 if anything differs."""
    if not Path(database).is_file():
        print(f"There is no database {database!r}: run index_python.py first.")
        return 1
    found = sqlite3.connect(database).execute(ROWS).fetchall()
    begin = time.monotonic()
    expected = loop(root)
    seconds = time.monotonic() - begin

    broken = [row for row in found if row[4]]
    print(f"files        {len(found):>9,}")
    print(f"definitions  {sum(row[2] or 0 for row in found):>9,}")
    print(f"lines        {sum(row[3] for row in found):>9,}")
    print(f"do not parse {len(broken):>9,}")
    for path, *_, error in [row for row in broken if root and Path(root).resolve() in Path(row[0]).parents]:
        print(f"    {path}: {error}")

    differences = sorted(set(found) ^ set(expected), key=str)
    if differences:
        print(f"{len(differences)} rows differ from those of the plain loop, the first: {differences[0]}")
        return 1
    print(f"A plain for loop found the same, row for row, in {seconds:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
