"""What is built and installed, and the places that have to agree about it."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import runpy
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

import taskmaster

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "taskmaster"


def text(name: str) -> str:
    """Read a file of the repository."""
    return (ROOT / name).read_text("utf-8")


@pytest.fixture
def metadata(monkeypatch):
    """What setup.py hands to setuptools, which need not be installed for it."""
    given = {}
    stub = types.ModuleType("setuptools")
    stub.setup = lambda **keywords: given.update(keywords)
    stub.find_packages = lambda **keywords: keywords["include"]
    monkeypatch.setitem(sys.modules, "setuptools", stub)
    runpy.run_path(str(ROOT / "setup.py"))
    return given


def pythons(found: list[str]) -> list[str]:
    """Bring "311" and "3.11" to one form."""
    return [f"3.{name.removeprefix('3').removeprefix('.')}" for name in found]


def test_version_is_the_package_s_own(metadata):
    """What is built has the version that the package tells, which is above every Python 2
    release.
    """
    assert metadata["version"] == taskmaster.__version__
    assert int(taskmaster.__version__.split(".")[0]) >= 1


def test_core_has_three_dependencies(metadata):
    """The core needs click, tqdm and psycopg2-binary, and nothing else."""
    assert metadata["install_requires"] == ["click>=8.1", "tqdm>=4.66", "psycopg2-binary>=2.9.10"]


def test_commands_lead_to_functions(metadata):
    """Each installed command names a function that its module defines."""
    commands = dict(line.split(" = ") for line in metadata["entry_points"]["console_scripts"])

    assert set(commands) == {"tm-master", "tm-slave", "tm-spawn", "tm-run", "tm-ctl", "tm-web"}
    for place in commands.values():
        module, function = place.split(":")
        tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_bytes())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assigned = {name.id for node in tree.body if isinstance(node, ast.Assign) for name in node.targets}
        assert function in defined | assigned, place


def test_every_folder_is_a_package():
    """A folder without __init__.py would be left out of the wheel."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_types_are_shipped(metadata):
    """Type checkers of users see the annotations."""
    assert (PACKAGE / "py.typed").is_file()
    assert metadata["package_data"] == {"taskmaster": ["py.typed", "view/status.schema.json", "view/web/static/*"]}


def test_the_page_s_files_are_shipped_and_ours(metadata):
    """All that the page loads is in one folder that is shipped; what is not ours is listed with its
    licence and its checksum.
    """
    static = PACKAGE / "view/web/static"
    known = {path.name for path in static.iterdir()}
    loaded = set(re.findall(r"/static/([\w.-]+)", (static / "page.html").read_text("utf-8")))
    for script in static.glob("*.js"):
        loaded |= set(re.findall(r'from "\./([\w.-]+)"', script.read_text("utf-8")))
    manifest = (static / "MANIFEST").read_text("utf-8").splitlines()
    lines = [line.split() for line in manifest if line[:1] not in ("", "#")]

    assert "view/web/static/*" in metadata["package_data"]["taskmaster"]
    assert loaded <= known
    assert {path.parent for path in static.rglob("*") if path.is_file()} == {static}
    for name, version, licence, checksum in lines:
        assert version, licence
        assert hashlib.sha256((static / name).read_bytes()).hexdigest() == checksum
    # What is minified was made elsewhere.
    ours = known - {line[0] for line in lines}
    assert [name for name in ours if max(map(len, (static / name).read_text("utf-8").splitlines())) > 1000] == []


def test_the_page_makes_no_markup_and_asks_nobody_else():
    """No script of the page makes elements of text, or names another origin."""
    for script in (PACKAGE / "view/web/static").glob("*.js"):
        said = script.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|createHTML", said
        ), script
        assert set(re.findall(r"https?://[^\s\"']+", said)) <= {"http://www.w3.org/2000/svg"}, script


def test_everybody_names_the_same_pythons(metadata):
    """setup.py, tox and both CI services agree about the supported Pythons."""
    classified = [line.split(" :: ")[-1] for line in metadata["classifiers"] if re.search(r":: 3\.\d+$", line)]

    assert metadata["python_requires"] == f">={classified[0]}"
    assert pythons(re.findall(r"py(3\d+)\b", text("tox.ini"))) == classified
    assert re.findall(r'^  - "(3\.\d+)"$', text(".travis.yml"), re.MULTILINE) == classified
    assert re.findall(r"3\.\d+", re.search(r"python: \[(.*)\]", text(".github/workflows/ci.yml"))[1]) == classified
    assert set(re.search(r'EXPECTED="(.*)"', text(".ci/run"))[1].split()) <= set(classified)
    assert f'python_version = "{classified[0]}"' in text("pyproject.toml")


def test_ci_scripts_are_executable():
    """They can be called by name."""
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert os.access(ROOT / ".ci/package", os.X_OK)


def test_license_is_whole():
    """The licence that the metadata names is there, from its title to its last section."""
    licence = text("LICENSE")

    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_nobody_is_told_to_install_the_old_release():
    """`pip install taskmaster` without a path gets the Python 2 release of that name."""
    pages = [*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst"), *PACKAGE.rglob("*.py")]
    wrong = [str(page) for page in pages if re.search(r"pip install (-\w+ )*taskmaster\b", page.read_text("utf-8"))]

    assert wrong == []


# Stands in for another Python: makes the Makefile's question be asked of a changed one.
PRETENDER = """#!/bin/sh
exec {python} -c 'import importlib.util, sys
{change}
exec(sys.argv[1])' "$2"
"""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('sys.version_info = (3, 8, 20, "final", 0)', "is Python 3.8, and Taskmaster needs 3.11 or newer; "),
        ('sys.version_info = (2, 7, 18, "final", 0)', "is Python 2.7, and Taskmaster needs 3.11 or newer; "),
        (
            'importlib.util.find_spec = lambda name: name not in ("venv", "ensurepip")',
            "lacks venv and ensurepip, which Taskmaster needs; ",
        ),
        ("sys.exit(1)", "does not start, and Taskmaster needs Python 3.11 or newer; "),
    ],
    ids=["3.8", "2.7", "no-venv", "broken"],
)
@pytest.mark.parametrize("target", ["test", "demo"])
def test_make_refuses_a_python_that_will_not_do(tmp_path, change, sentence, target):
    """One sentence says what is wrong with it and what to do, the exit code is not 0, and nothing
    is made.
    """
    python = tmp_path / "python of another kind"
    python.write_text(PRETENDER.format(python=shlex.quote(sys.executable), change=change))
    python.chmod(0o755)
    venv = f"build/{tmp_path.name}"
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["make", target, f"PYTHON={python}", f"VENV={venv}"]

    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"'{python}' {sentence}name another one: make PYTHON=" in done.stderr
    assert not (ROOT / venv).exists()
