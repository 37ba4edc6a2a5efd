"""The shape of the code: who imports whom, and the few things that are said in one place only."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "taskmaster"

# The rooms, and what each may import beside itself.
GROUND = {"root", "runtime", "guards"}  # the vocabulary, what a process does beside its work, what holds it back
BESIDE = {"options", "user_code", "transport", "view", "view.web", "sources", "django_orm"}  # what both wings use
MASTER = {"master", "master.records", "master.broker", "master.reading", "master.steering", "master.tally",
          "master.throttle", "master.stores", "master.stores.sqlite"}  # fmt: skip
SLAVE = {"slave", "slave.ipc", "slave.pool", "slave.worker"}
ALLOWED: dict[str, set[str]] = {
    "face": {"api", "root"},  # the package itself: its public names, imported when they are asked for
    "control": {"runner", *GROUND},  # a face, too: a run that goes on, seen from a script
    "cli": {"api", "runner", "master", "slave", "master.stores", *BESIDE, *GROUND},
    "api": {"runner", *BESIDE, *MASTER, *SLAVE, *GROUND},
    "runner": {"engine", *BESIDE, *MASTER, *SLAVE, *GROUND},
    # What a slave is told, and a pool of one process, which guards a batch in somebody's worker;
    # never the master.
    "engine": {"slave", "slave.ipc", "slave.pool", "transport", *GROUND},
    "options": {"postgres", "django_orm", *GROUND},
    "master": {"transport", "view", "user_code", "sources", "django_orm", *MASTER, *GROUND},
    "master.records": {"transport", *GROUND},
    "master.broker": {"master.records", "root"},
    "master.reading": {"master.records", "master.broker", "sources", "django_orm", *GROUND},
    "master.steering": {"master.records", "master.broker", *GROUND},
    "master.tally": {"master.records", "view", "root"},
    "master.throttle": {"django_orm", *GROUND},
    "master.stores": {"master.records", *GROUND},
    "master.stores.sqlite": {"master.records", "master.stores", *GROUND},
    "slave": {"transport", "view", "user_code", "django_orm", "slave.ipc", "slave.pool", *GROUND},
    "slave.ipc": {"root"},
    "slave.pool": {"slave.ipc", "transport", "user_code", *GROUND},
    "slave.worker": {"slave.ipc", "transport", "user_code", "django_orm", *GROUND},
    "transport": GROUND,
    "view": GROUND,
    # The page's process: a client of its master, over a line, and nothing else of it.
    "view.web": {"view", "transport", *GROUND},
    "user_code": {"django_orm", *GROUND},
    "sources": GROUND,
    "postgres": {"sources", *GROUND},
    "django_orm": {"sources", *GROUND},
    "runtime": {"root"},
    "guards": {"root"},
    "root": set(),
    "example": set(),
}

THIRD_PARTY = {"click", "tqdm"}  # psycopg2, the third dependency, is imported only where PostgreSQL is used
EXTRAS = {
    ("taskmaster.view.metrics", "prometheus_client"),  # imported when somebody asks for metrics
    ("taskmaster.view.web.app", "uvicorn"),  # imported in the page's process alone
    ("taskmaster.engine.ray_cluster", "ray"),  # imported when a cluster of Ray's is named
}
# The preview opens what it has pickled itself a moment before.
UNPICKLES = {"taskmaster.transport.plain", "taskmaster.slave.worker.worker", "taskmaster.runner.dry_run"}
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "misc", "manager"}

LONG = 400  # lines of a module
MANY = 25  # methods of a class
LOOSE = 11  # modules in no room, beside the package itself
LONG_FUNCTION = 50  # lines of a function, without its docstring


def module_name(path: Path) -> str:
    """Give the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_bytes(), str(path)) for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Parse a file once, however many tests look at it."""
    return ast.parse(path.read_bytes(), str(path))


@functools.cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Walk a file once, however many tests look at it."""
    return tuple(ast.walk(tree))


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def part(module: str) -> str:
    """Give the innermost room that a module lies in."""
    names = module.split(".")[1:]
    if not names:
        return "face"
    rooms = [".".join(names[:length]) for length in range(len(names), 0, -1)]
    return next((room for room in rooms if room in ALLOWED), "root")


@functools.cache
def executed(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Give the nodes of a module without what only type checkers see."""
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            found.append(node)
            waiting += ast.iter_child_nodes(node)
    return tuple(found)


@functools.cache
def imports(module: str) -> list[tuple[str, int]]:
    """Give each name that a module imports, as a dotted name, with its line; also those inside
    functions.
    """
    return list(imported(module))


def imported(module: str) -> Iterator[tuple[str, int]]:
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in executed(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(module: str) -> Iterator[tuple[str, int]]:
    """Give the modules of the package that a module imports."""
    for name, line in imports(module):
        if name.split(".")[0] == "taskmaster":
            target = name if name in TREES else name.rpartition(".")[0]
            # `from taskmaster import __version__` needs nothing but the first lines of the package.
            if target != "taskmaster":
                yield target, line


def test_there_is_something_to_look_at():
    """The package was found, with the two wings and what lies between."""
    assert {"taskmaster", "taskmaster.model", "taskmaster.errors"} <= set(TREES)


def test_imports_run_downwards():
    """No module imports one above it; in particular master and slave meet in the runner alone."""
    wrong = [
        f"{FILES[module]}:{line} ({part(module)}) imports {target} ({part(target)})"
        for module in TREES
        for target, line in own_imports(module)
        if part(target) != part(module) and part(target) not in ALLOWED[part(module)]
    ]

    assert wrong == []


def test_there_is_no_import_cycle():
    """No module needs itself, not even through an import inside a function."""
    # The package's own face is left out: it imports its public names when they are asked for.
    edges = {module: {target for target, _ in own_imports(module)} for module in TREES if module != "taskmaster"}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for target in sorted(edges.get(module, ())):
                visit(target, (*way, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_there_is_no_circle_of_rooms():
    """What a room may import cannot lead back to it, so that the rooms have an order."""
    seen: set[str] = set()

    def visit(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, " -> ".join([*way[way.index(room) :], room])
        if room not in seen:
            for other in sorted(ALLOWED[room] - {room}):
                visit(other, (*way, room))
            seen.add(room)

    for room in ALLOWED:
        visit(room, ())


def test_every_imported_module_exists():
    """An import of the package's own names leads to a module or to a name in one."""
    wrong = [
        f"{FILES[module]}:{line} imports from {target}"
        for module in TREES
        for target, line in own_imports(module)
        if target not in TREES
    ]

    assert wrong == []


# What takes longer to load than the master's own modules, and what a plain run does not use.
HEAVY = {
    "asyncio", "concurrent", "ctypes", "difflib", "email", "getpass", "glob", "http", "logging.handlers", "shutil",
    "ssl", "statistics", "sysconfig", "tempfile", "tomllib", "urllib.request", "zipfile", "zoneinfo",
}  # fmt: skip


# What only a dry run, a sample and a run in this process use.
OF_OTHER_RUNS = ("taskmaster.runner.dry_run", "taskmaster.runner.sample_run", "taskmaster.runner.in_process")


def loaded_with(module: str, found: set[str]) -> set[str]:
    """Give each name that is imported as soon as a module is, by it or by what it imports."""
    at_once = {name for name, line in imports(module) if line not in lines_of_functions(module)}
    for name in sorted(at_once - found):
        found.add(name)
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            if ".".join(parts[:length]) in TREES:
                loaded_with(".".join(parts[:length]), found)
    return found


@functools.cache
def lines_of_functions(module: str) -> set[int]:
    """Give the lines of a module that are run when something is called."""
    functions = [node for node in nodes(TREES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {line for node in functions for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)}


def test_a_plain_run_loads_only_what_it_uses():
    """``tm-run`` and ``Taskmaster`` import nothing at their start that only some runs need."""
    found = loaded_with("taskmaster.cli.run", set()) | loaded_with("taskmaster.api", set())
    heavy = {name for name in found for length in (1, 2) if ".".join(name.split(".")[:length]) in HEAVY}
    rooms = {name for name in found if name.startswith(("taskmaster.engine", "taskmaster.view.web"))}
    # The slave that is forked at the start loads them, while this process loads the master.
    rooms |= {name for name in found if re.match(r"taskmaster\.slave\.(?!config\b)", name)}
    other = {name for name in found if name.startswith(OF_OTHER_RUNS)}

    assert "taskmaster.master.broker.broker.Broker" in found
    assert heavy | rooms | other == set()


def test_a_worker_loads_only_what_it_uses():
    """The processes that a run forks load before the fork what each of them needs, and no more."""
    found = loaded_with("taskmaster.slave.__main__", set()) | loaded_with("taskmaster.slave.worker.fork_server", set())
    heavy = {name for name in found for length in (1, 2) if ".".join(name.split(".")[:length]) in HEAVY}

    assert "taskmaster.slave.worker.message_sender.flush" in found
    # Memory is shared through the one; multiprocessing loads the other.
    assert {name.split(".")[0] for name in heavy} == {"ctypes", "tempfile"}
    assert not any(name.startswith("multiprocessing.managers") for name in found)


def test_a_slave_loads_nothing_of_the_master():
    """Each ``tm-slave`` of a fleet would pay for it: no module of the master, and none that only a
    server of its own needs.
    """
    found = loaded_with("taskmaster.cli.slave", set()) | loaded_with("taskmaster.runner.remote_slave", set())
    masters = {name for name in found if name.startswith(("taskmaster.master", "taskmaster.transport.server"))}
    others = {
        name for name in found if name.startswith(("taskmaster.engine", "taskmaster.slave.worker.", *OF_OTHER_RUNS))
    }

    assert "taskmaster.slave.supervisor.run_slave" in found
    assert masters | others == set()


def is_pure(module: str) -> bool:
    """Whether a module must have nothing of its own that differs from one run to the next."""
    said = ast.get_docstring(TREES[module]) or ""
    return part(module) == "master.broker" or re.search(r"\bPure\b", said) is not None


# What a pure module may use although it does not call itself one: values and their text.
VALUES = {
    "errors", "keys", "master.records.fingerprints", "model", "outcomes", "records", "redaction", "units",
}  # fmt: skip
# Threads, sockets, files, clocks, processes, and what only makes sense with one of them.
IMPURE = {
    "asyncio", "concurrent", "fcntl", "io", "logging", "mmap", "multiprocessing", "os", "pathlib",
    "pickle", "queue", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
CALLS = {"open", "print", "input", "datetime.now", "datetime.today", "date.today"}


@pytest.mark.parametrize("module", [module for module in TREES if is_pure(module)])
def test_what_is_pure_has_no_thread_socket_file_clock_or_chance(module: str):
    """The broker and what calls itself pure do the same each time: the simulation relies on it."""
    wrong = [
        f"{FILES[module]}:{line} imports {name}"
        for name, line in imports(module)
        if name.split(".")[0] in IMPURE or re.fullmatch(r"random\.(?!Random\b).*", name)
    ]
    wrong += [
        f"{FILES[module]}:{node.lineno} uses {ast.unparse(node)}"
        for node in nodes(TREES[module])
        if (isinstance(node, ast.Attribute) and re.fullmatch(r"random\.(?!Random\b)\w+", ast.unparse(node)))
        or (isinstance(node, ast.Call) and (ast.unparse(node) == "random.Random()" or ast.unparse(node.func) in CALLS))
    ]
    wrong += [
        f"{FILES[module]}:{line} imports {target}, which does not say that it is pure"
        for target, line in own_imports(module)
        if not is_pure(target) and target.removeprefix("taskmaster.") not in VALUES
    ]

    assert wrong == []


def test_the_core_imports_no_extra():
    """Everything but the standard library, click and tqdm is optional, and stays out of the
    core.
    """
    wrong = [
        f"{FILES[module]}:{line} imports {name}"
        for module in TREES
        if not module.startswith(("taskmaster.postgres", "taskmaster.django_orm", "taskmaster.engine.dask_cluster"))
        for name, line in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names | THIRD_PARTY | {"taskmaster", "__future__"}
        if (module, name.split(".")[0]) not in EXTRAS
    ]

    assert wrong == []


def test_only_transport_names_multiprocessing_managers():
    """What is wrong with multiprocessing.managers as a network server is cured in one place."""
    wrong = [
        f"{FILES[module]}:{line}"
        for module in TREES
        if part(module) != "transport"
        for name, line in imports(module)
        if name.startswith("multiprocessing.managers")
    ]

    assert wrong == []


def test_only_three_modules_unpickle():
    """The worker, for the user's code, the codec that refuses all but plain values, and the
    preview.
    """
    wrong = []
    for module in set(TREES) - UNPICKLES:
        wrong += [
            f"{FILES[module]}:{line} imports {name}"
            for name, line in imports(module)
            if re.fullmatch(r"_?pickle\.(loads?|_?Unpickler)", name)
        ]
        wrong += [
            f"{FILES[module]}:{node.lineno} uses {ast.unparse(node)}"
            for node in executed(TREES[module])
            if isinstance(node, ast.Attribute)
            and (node.attr in ("Unpickler", "_Unpickler") or re.fullmatch(r"_?pickle\.loads?", ast.unparse(node)))
        ]

    assert wrong == []


def test_what_a_docstring_names_exists():
    """A dotted name of the package in a docstring leads to a module, or to a name in one."""
    wrong = []
    for module, tree in TREES.items():
        for node in nodes(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for name in re.findall(r"``(taskmaster(?:\.\w+)+)``", ast.get_docstring(node) or ""):
                    owner, _, last = name.rpartition(".")
                    if name not in TREES and not (owner in TREES and last in FILES[owner].read_text("utf-8")):
                        wrong.append(f"{FILES[module]}:{getattr(node, 'lineno', 1)} names {name}")

    assert wrong == []


def test_the_package_has_no_assert():
    """What must be true is checked by code that `python -O` keeps."""
    wrong = [
        f"{FILES[module]}:{node.lineno}"
        for module, tree in TREES.items()
        for node in nodes(tree)
        if isinstance(node, ast.Assert)
    ]

    assert wrong == []


def constants() -> Iterator[tuple[str, str, str]]:
    """Give each constant at the top of a module: its name, its value as text, and where it is."""
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.AnnAssign):
                pairs = [(node.target, node.value)]
            elif isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
                several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                pairs = list(zip(target.elts, value.elts, strict=True)) if several else [(target, value)]
            else:
                continue
            for target, value in pairs:
                if isinstance(target, ast.Name) and target.id.isupper() and value is not None:
                    yield target.id, ast.unparse(value), f"{FILES[module]}:{node.lineno}"


def test_a_constant_of_one_name_has_one_value():
    """A constant that is known from one module means the same in any other: one idea, one name."""
    found: dict[str, dict[str, str]] = {}
    for name, value, place in constants():
        found.setdefault(name, {})[value] = place

    assert {name: sorted(values.values()) for name, values in found.items() if len(values) > 1} == {}


def test_a_class_of_one_name_is_one_class():
    """One word for one idea: a name that was seen in one module means the same in any other."""
    found: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for node in tree.body:
            # A script's view of a running run has the run's name, on purpose.
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and module != "taskmaster.control":
                found.setdefault(node.name, []).append(f"{FILES[module]}:{node.lineno}")

    assert {name: places for name, places in found.items() if len(places) > 1} == {}


COUNTED = (
    "attempt batch byte connection crash day digit error failure field file hour job key line minute ones page process "
    "row run second slave task thread time value worker"
)
NUMBER_AND_NOUN = re.compile(rf" (?:[a-z]+ )?({'|'.join(COUNTED.split())})(e?s)\b")
ALWAYS_MANY = {  # numbers that are never 1 where they are said, and words that are no numbers
    "field.max_digits", "self._alike", "self._failed.total()", "self._broker.intake.span", "batch.solo", "len(found)",
    "size", "total", "sum(self._lengths)", "self._cap", "len(blob)", "what", "shown", "self._held_for()", "self.wanted",
}  # fmt: skip


def test_one_of_something_is_no_plural():
    """No message says "1 jobs": numbers that may be 1 are shown by ``show_count``."""
    wrong = [
        f"{FILES[module]}:{text.lineno} {ast.unparse(number.value)}{words.value[:20]}"
        for module, tree in TREES.items()
        for text in _unguarded_texts(tree)
        for number, words in zip(text.values, text.values[1:], strict=False)
        if isinstance(number, ast.FormattedValue) and isinstance(words, ast.Constant)
        if NUMBER_AND_NOUN.match(words.value) and not _is_never_one(number)
    ]

    assert wrong == []


def _unguarded_texts(tree: ast.AST, *, guarded: bool = False) -> Iterator[ast.JoinedStr]:
    """Yield the f-strings of a module that are in no conditional expression, as one for 1 and one
    for more.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr) and not guarded:
            yield node
        yield from _unguarded_texts(node, guarded=guarded or isinstance(node, ast.IfExp))


def _is_never_one(number: ast.FormattedValue) -> bool:
    """Return whether what is shown is a constant, a float, or known to be more than 1."""
    names = [node.id for node in ast.walk(number.value) if isinstance(node, ast.Name)]
    names += [node.attr for node in ast.walk(number.value) if isinstance(node, ast.Attribute)]
    is_float = number.format_spec is not None and ast.unparse(number.format_spec)[-2:-1] in "fg"
    return is_float or any(name.isupper() for name in names) or ast.unparse(number.value) in ALWAYS_MANY


def test_modules_are_named_after_what_they_do():
    """There is no drawer for whatever fits nowhere."""
    wrong = [module for module in TREES if VAGUE & set(module.split("."))]

    assert wrong == []


def test_no_module_is_long():
    """No module has more than 400 lines; split by reason, not by length."""
    long = {module for module, path in FILES.items() if len(path.read_text("utf-8").splitlines()) > LONG}

    assert long == set()


def test_few_modules_are_in_no_room():
    """A stranger reads their names first: each more is one that belongs into a room."""
    loose = [path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"]

    assert len(loose) <= LOOSE, loose


def test_the_broker_is_a_face():
    """At most 300 lines: what it does is in its parts."""
    assert len(FILES["taskmaster.master.broker.broker"].read_text("utf-8").splitlines()) <= 300


def test_no_function_is_long():
    """No function has more than 50 lines beside its docstring."""
    long = [
        f"{FILES[module]}:{node.lineno} {node.name}: {lines}"
        for module, tree in TREES.items()
        for node in nodes(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := node.end_lineno - node.lineno + 1 - docstring_lines(node)) > LONG_FUNCTION
    ]

    assert long == []


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Give how many lines the docstring of a function takes."""
    first = node.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def test_no_class_has_many_methods():
    """No class has more than 25 methods."""
    many = {
        node.name
        for tree in TREES.values()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) for inner in node.body) > MANY
    }

    assert many == set()


def assigned(node: ast.AST) -> list[ast.expr]:
    """Give what a statement assigns to or deletes, without the parentheses around it."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    return [inner for target in targets for inner in (target.elts if isinstance(target, ast.Tuple) else [target])]


def test_nobody_outside_writes_into_the_broker():
    """The broker and its parts change themselves; others call their methods."""
    wrong = [
        f"{FILES[module]}:{node.lineno} assigns to {ast.unparse(target)}"
        for module, tree in TREES.items()
        if part(module) != "master.broker"
        for node in nodes(tree)
        for target in assigned(node)
        if re.search(r"\b_?broker\b.*[.\[]", ast.unparse(target).removeprefix("self."))
    ]

    assert wrong == []


def test_every_module_says_what_it_is_for():
    """A module opens with a docstring."""
    wrong = [str(FILES[module]) for module, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]

    assert wrong == []


def test_every_dataclass_says_what_it_is():
    """Without a docstring, dataclasses looks up its signature to write one: two milliseconds of
    each start.
    """
    wrong = [
        f"{FILES[module]}:{node.lineno} {node.name}"
        for module, tree in TREES.items()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
        if any(re.match(r"record\(|changing\(|dataclass\b", ast.unparse(by)) for by in node.decorator_list)
    ]

    assert wrong == []


def test_no_module_says_who_calls_it():
    """Such a sentence is false after the next change; the imports say it, and the rooms' maps."""
    wrong = [
        f"{FILES[module]}: {found[0]}"
        for module, tree in TREES.items()
        if (found := re.search(r"\b(?:Called|Used|Started|Asked) by\b.*", ast.get_docstring(tree) or ""))
        and not FILES[module].name.startswith("__")
    ]

    assert wrong == []


def test_every_module_is_on_the_map_of_its_room():
    """The docstring of a room names each module that lives in it."""
    wrong = []
    for module, path in FILES.items():
        if module.count(".") < 2 or path.name.startswith("__"):
            continue
        room = module.rpartition(".")[0]
        if f"``{path.stem}``" not in (ast.get_docstring(TREES[room]) or ""):
            wrong.append(f"{room} does not name {path.stem}")

    assert wrong == []


@pytest.mark.parametrize("path", TESTS, ids=[str(path.relative_to(ROOT)) for path in TESTS])
def test_every_test_says_what_is_true(path: Path):
    """A test has a docstring that says what is true when it passes."""
    wrong = [
        f"{path}:{node.lineno} {node.name}"
        for node in nodes(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert wrong == []


# Modules without a test file of their own name, by the tests that cover them: what a module does
# with processes, a terminal, a wire or a database is tried with these, and a part with the whole.
COVERED_BY = {
    "tests/process/test_scripts.py": "api options/keywords runner/optional_parts",
    "tests/integration/cli/test_commands.py": (
        "errors cli/command cli/ctl cli/echo cli/master cli/options cli/run cli/slave cli/which_run "
        "options/commands options/page options/project options/workers"
    ),
    "tests/unit/engine/test_fleet.py": "slave/last_words",
    "tests/process/test_engine_dask.py": "engine/contract runner/engine_fleet runner/engine_slaves",
    "tests/process/test_engine_executor.py": "runner/engine_choice",
    "tests/process/test_executor_slave.py": ("engine/batch_executor slave/pool/contract"),
    "tests/process/test_first_process.py": "cli/pid1",
    "tests/process/test_steering.py": "control cli/steering runner/steer_state",
    "tests/unit/master/steering/test_steering.py": (
        "master/steering/amounts master/steering/inherited master/steering/quiet_slaves "
        "master/records/steering_records master/steering/request "
        "master/steering/slave_names master/steering/steered master/steering/trail"
    ),
    "tests/process/test_page.py": ("cli/web runner/page_beside view/web/assets view/web/instructions"),
    "tests/process/test_slaves.py": (
        "example runner/remote_slave slave/connector slave/interruption slave/ipc/unusable"
    ),
    "tests/process/test_pool.py": "slave/pool/buffers slave/pool/worker_process slave/pool/workforce",
    "tests/process/test_bad_ends.py": "runner/bad_ends",
    "tests/process/test_worker_ends.py": "slave/worker/forked_children",
    "tests/integration/slave/worker/test_worker.py": "outcomes slave/worker/message_sender",
    "tests/process/test_prefork.py": ("runner/prefork slave/worker/fork_server"),
    "tests/process/test_callback_kinds.py": "slave/worker/callbacks",
    "tests/process/test_in_process.py": ("master/reading/reader_by_turns runner/in_process_server runner/one_job"),
    "tests/process/test_trial.py": "runner/sample_run",
    "tests/process/test_run_identity.py": (
        "master/records/run_record master/stores/default_path runner/loading runner/repeated runner/session "
        "runner/blank_state"
    ),
    "tests/process/test_hosts.py": "runner/shared_key transport/listener",
    "tests/process/test_report.py": "cli/reporting",
    "tests/unit/view/test_report.py": "view/report_jobs view/report_style",
    "tests/process/test_wire.py": (
        "transport/client transport/frames transport/handshake transport/reactor transport/server"
    ),
    "tests/simulation/test_pace.py": "master/throttle/pace_controller master/throttle/probe_level",
    "tests/postgres/test_probe.py": "cli/probing postgres/probe",
    "tests/process/test_pace.py": "runner/throttling",
    "tests/process/test_surroundings.py": ("runtime/context runtime/malloc runtime/titles"),
    "tests/process/test_failed_again.py": "runner/state_copy",
    "tests/process/test_stopping.py": "master/ending master/run master/run_status master/summary",
    "tests/unit/master/test_service.py": "model master/records/pickling master/remarks",
    "tests/unit/master/reading/test_reader.py": "master/records/job_records master/reading/unsuitable",
    "tests/simulation/test_schedules.py": (
        "master/broker/broker master/broker/counts master/broker/limits master/broker/prepared "
        "master/broker/relief master/broker/slaves master/broker/verdicts"
    ),
    "tests/contract/test_stores.py": (
        "master/records/minute_row master/stores/contract master/stores/memory master/stores/sqlite/belonging "
        "master/stores/sqlite/checkpoint master/stores/sqlite/connection master/stores/sqlite/file "
        "master/stores/sqlite/lock master/stores/sqlite/queries master/stores/sqlite/history "
        "master/stores/sqlite/steering master/stores/sqlite/store"
    ),
    "tests/django_orm/test_description.py": "django_orm/description",
    "tests/django_orm/test_key_columns.py": "django_orm/key_columns",
    "tests/django_orm/test_key_spelling.py": "django_orm/key_spelling",
    "tests/django_orm/test_connections.py": "django_orm/connections",
    "tests/django_orm/test_ranges.py": "django_orm/ranges",
    "tests/django_orm/test_rows.py": (
        "django_orm/key django_orm/key_operators django_orm/queries django_orm/queryset_form django_orm/row_keys "
        "django_orm/rows"
    ),
    "tests/django_orm/test_model_hooks.py": "django_orm/model_hooks",
    "tests/django_orm/test_repeated_rows.py": "django_orm/repeated_rows",
    "tests/django_orm/test_replicas.py": "django_orm/replicas",
    "tests/django_orm/test_row_security.py": "django_orm/row_security",
    "tests/django_orm/test_start_check.py": "django_orm/start_check",
    "tests/django_orm/test_undone.py": "django_orm/undone",
    "tests/process/test_django.py": "django_orm/project django_orm/readable",
    "tests/postgres/test_connections.py": "postgres/connections postgres/dsn",
    "tests/postgres/test_guards.py": "postgres/guard_statement",
    "tests/postgres/test_write_guards.py": "postgres/write_guards",
    "tests/postgres/test_ranges.py": "postgres/coverage postgres/key_operators postgres/ranges sources/index_operators",
    "tests/postgres/test_rows.py": "postgres/catalog postgres/pages postgres/rows postgres/statements postgres/tables",
    "tests/postgres/test_values.py": "postgres/values",
    "tests/unit/sources/test_files.py": (
        "sources/bad_lines sources/file_format sources/file_sources sources/resumable_file sources/text_encoding"
    ),
    "tests/unit/view/test_progress.py": "view/snapshot view/status",
}


MIRRORS = ("unit", "integration")  # the second with a socket, a child process, or a pause


def test_every_module_has_its_tests():
    """tests/unit and tests/integration mirror the package; a module without a file of its own is
    covered elsewhere.
    """
    covered = " ".join(COVERED_BY.values()).split()
    alone = []
    for path in PACKAGE.rglob("*.py"):
        if path.stem.startswith("__"):
            continue
        name = path.relative_to(PACKAGE).with_suffix("")
        if not any((ROOT / "tests" / kind / name.parent / f"test_{name.name}.py").exists() for kind in MIRRORS):
            alone.append(str(name))

    assert sorted(covered) == sorted(alone), "each module has one or the other"
    assert [there for there in COVERED_BY if not (ROOT / there).exists()] == []


def test_every_unit_test_is_of_one_module():
    """tests/unit/<room>/test_<module>.py; what tries several together stands elsewhere."""
    unit = ROOT / "tests" / "unit"
    strays = [
        str(path.relative_to(ROOT))
        for path in unit.rglob("test_*.py")
        if not (PACKAGE / path.relative_to(unit).with_name(path.name.removeprefix("test_"))).exists()
    ]

    assert strays == []


# Errors of socket and subprocess may be raised, and what a process has replaced may be patched.
WAITS = re.compile(
    r"subprocess\.(?!TimeoutExpired\b|CalledProcessError\b)\w+"
    r"|socket\.(socket|socketpair|create_\w+|fromfd)|multiprocessing\.(?!pool)\w+"
    r"|os\.(fork|system|popen|spawn\w+|posix_spawn\w*|exec\w+)|(time\.)?sleep"
)


def test_unit_tests_have_no_socket_no_process_and_no_pause():
    """What needs one is in tests/integration or tests/process."""
    wrong = [
        f"{path}:{node.lineno} calls {ast.unparse(node.func)}"
        for path in TESTS
        if ROOT / "tests/unit" in path.parents
        for names in [names_of(path)]
        for node in nodes(parsed(path))
        if isinstance(node, ast.Call) and WAITS.fullmatch(names.get(ast.unparse(node.func), ast.unparse(node.func)))
    ]

    assert wrong == []


def names_of(path: Path) -> dict[str, str]:
    """Give what the names that a file imports from modules stand for, as dotted names."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes(parsed(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("path", TESTS, ids=[str(path.relative_to(ROOT)) for path in TESTS])
def test_no_test_module_imports_another(path: Path):
    """What tests share is in tests/support, where it can be found."""
    imported = {
        name
        for node in nodes(parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    others = {other.stem for other in [*TESTS, *(ROOT / "tests").rglob("conftest.py")]}

    assert {name for name in imported if name.split(".")[-1] in others and not name.startswith("taskmaster")} == set()


def test_the_repository_mentions_nothing_outside_it():
    """No file names a directory of somebody's machine, and no path in it leads out of the
    repository.
    """
    folders = ["taskmaster", "tests", "examples", "benchmarks", "docs", ".ci", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.suffix != ".sqlite"]
    wrong = []
    for path in files:
        if path.suffix in (".pyc", ".png") or "__pycache__" in path.parts:
            continue
        text = path.read_text("utf-8", errors="replace")
        wrong += [f"{path}: {found[0]}" for found in re.finditer(r"(?<![\w.*$}/~:-])/(?:root|work)/\w+", text)]
        # Tests and their user modules may well climb; they do it in directories of their own.
        if "tests" not in path.relative_to(ROOT).parts:
            wrong += [
                f"{path}: {found[0]}"
                for found in re.finditer(r"(?:\.\./)+[\w.-]+", text)
                if ROOT not in [place := (path.parent / found[0]).resolve(), *place.parents]
            ]

    assert wrong == []
