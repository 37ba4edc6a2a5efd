"""Index every .py file of this Python: ``tm-run examples/index_python.py 8`` fills index.sqlite."""

import ast
import contextlib
import os
import sqlite3
import sysconfig
import warnings
from pathlib import Path

DATABASE = os.environ.get("INDEX_DATABASE", "index.sqlite")


def get_jobs(root=None, last=None):
    """Yield the path of each file, in order: those of the library, the installed packages, and
    below ``root``.
    """
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), root]
    folders = sorted({Path(folder).resolve() for folder in folders if folder})
    for folder in folders:
        if not any(outer in folder.parents for outer in folders):  # else it is walked as a part of that one
            for path in walk(folder):
                if last is None or path > Path(last):  # `last` is passed only when a run is resumed
                    yield str(path)


def walk(folder):
    """Yield the .py files below a folder, sorted, one folder in memory at a time."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)
        elif path.suffix == ".py" and path.is_file():
            yield path


def setup():
    """Once in each worker process: open the database."""
    global connection
    warnings.simplefilter("ignore")  # what the parser thinks of other people's string escapes
    connection = sqlite3.connect(DATABASE, timeout=60, isolation_level=None)  # eight workers write: each waits its turn
    with contextlib.suppress(sqlite3.OperationalError):  # another worker is doing it this very moment
        connection.execute("PRAGMA journal_mode = WAL")  # makes writing cheaper
    connection.execute("CREATE TABLE IF NOT EXISTS files (path PRIMARY KEY, module, definitions, lines, error)")


def handle_job(path):
    """Record one file. A file that does not parse is a result like any other, not a job that
    failed.
    """
    source, definitions, error = Path(path).read_bytes(), None, None
    try:
        nodes = ast.walk(ast.parse(source))
        definitions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in nodes)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        error = f"{type(exc).__name__}: {exc}"
    row = (path, module_name(Path(path)), definitions, len(source.splitlines()), error)
    connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", row)  # the second time changes nothing


def module_name(path):
    """Give the dotted name under which a file is imported."""
    names = [] if path.name == "__init__.py" else [path.stem]
    while ((path := path.parent) / "__init__.py").exists():
        names.insert(0, path.name)
    return ".".join(names)
