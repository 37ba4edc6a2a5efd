# The commands behind each target are plain ones; CONTRIBUTING.rst lists them.
# Works with GNU make from 3.81 (macOS) on, in a path with spaces, and with an empty environment.

PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin
PIP = "$(BIN)/python" -m pip --disable-pip-version-check --quiet
# Else each of the test run's workers would compile all tests anew, where the environment forbids to keep what it made.
unexport PYTHONDONTWRITEBYTECODE
# As many at a time as tests/conftest.py says, in its order. A file stays together, for its servers and fixtures.
# Where a process of the tests crashes, the run ends: one that takes its place would wait for ever (pytest-xdist 3.8).
PYTEST = "$(BIN)/python" -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0
DEMO = build/demo
# The peers are many, and nothing else needs them: they have an environment of their own.
BENCH = build/bench/venv

# Prints why $(PYTHON) will not do, as one sentence, or nothing. Must run on any Python, also on Python 2.
PROBE = import sys; \
    version = "%d.%d" % sys.version_info[:2]; \
    old = sys.version_info < (3, 11); \
    need = [] if old else ["venv", "ensurepip", "_sqlite3"]; \
    lacks = [name for name in need if not __import__("importlib.util").util.find_spec(name)]; \
    sys.stdout.write("is Python %s, and Taskmaster needs 3.11 or newer" % version if old \
    else "lacks %s, which Taskmaster needs" % " and ".join(lacks) if lacks else "")
WHY = $(shell "$(PYTHON)" -c '$(PROBE)' 2>/dev/null || echo does not start, and Taskmaster needs Python 3.11 or newer)
CURE = name another one: make PYTHON=/path/to/python3 (on Debian and Ubuntu, apt install python3-venv adds what is missing)

# The environment belongs to one interpreter and one place; with another of either it is made anew.
FOR = $(PYTHON) in $(CURDIR)
MADE_FOR := $(shell cat "$(VENV)/made-for" 2>/dev/null)
ifneq "$(MADE_FOR)" "$(FOR)"
ANEW = anew
endif

.PHONY: help test test-slow check prove lint demo bench bench-postgres demo-postgres bench-quick peers clean anew

help:
	@echo "make test    run the tests (less than 5 minutes)"
	@echo "make test-slow  run the tests that are left out there: long stories, and more cases of a kind"
	@echo "make demo    run a real job on this machine: index every .py file of this Python, with 8 workers"
	@echo "make demo-postgres  denormalise 300,000 rows on a PostgreSQL server of its own"
	@echo "make bench   measure Taskmaster beside its peers (half an hour); make bench-quick takes two minutes"
	@echo "make lint    ruff and mypy"
	@echo "make check   lint, all tests, the slow ones too, and how much of the code they run"
	@echo "make prove   the proofs that nothing is lost at their full size (hours)"
	@echo "make clean   remove what these made"
	@echo "PYTHON=python3.12 names the interpreter; the default is $(PYTHON)."

$(VENV)/installed: setup.py pyproject.toml $(ANEW)
	@$(if $(WHY),$(error '$(PYTHON)' $(WHY); $(CURE)))
	rm -rf "$(VENV)"
	"$(PYTHON)" -m venv "$(VENV)"
	$(PIP) install -e .
	@echo '$(FOR)' > "$(VENV)/made-for"
	@touch "$(VENV)/installed"

$(VENV)/developer: $(VENV)/installed
	$(PIP) install -e '.[test,lint]'
	@touch "$(VENV)/developer"

# Half a gigabyte that only some of the thorough tests need; there are Pythons for which there is none.
$(VENV)/engines: $(VENV)/developer
	$(PIP) install -e '.[ray]' loky || echo "Ray or loky cannot be installed here: what is tried with them is left out."
	@touch "$(VENV)/engines"

test: $(VENV)/developer
	$(PYTEST) -m "not slow and not proof"

test-slow: $(VENV)/developer
	$(PYTEST) -m "slow and not proof and not thorough"

lint: $(VENV)/developer
	"$(BIN)/ruff" check .
	"$(BIN)/mypy" --strict taskmaster

# All tests, and how much of the code they run, in every child process too. From Python 3.12 on, counting takes
# twice the time of the tests; before, many times.
CORE = import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")
check: lint $(VENV)/engines
	rm -rf build/coverage
	COVERAGE_CORE=`"$(BIN)/python" -c '$(CORE)'` $(PYTEST) --cov --cov-report=term

# What has no time in `make check`: the same tests, larger. Hours.
prove: $(VENV)/developer
	"$(BIN)/python" tests/prove.py $(ARGS)

# In a directory of its own, so that the state, the result and the broken file are new each time.
demo: $(VENV)/installed
	rm -rf "$(DEMO)"
	mkdir -p "$(DEMO)/mine"
	printf 'def broken(:\n' > "$(DEMO)/mine/broken.py"
	cd "$(DEMO)" && "$(CURDIR)/$(BIN)/tm-run" "$(CURDIR)/examples/index_python.py" 8 root=mine
	cd "$(DEMO)" && "$(CURDIR)/$(BIN)/python" "$(CURDIR)/examples/check_index.py" index.sqlite mine

demo-postgres: $(VENV)/developer
	rm -rf "$(DEMO)-postgres"
	mkdir -p "$(DEMO)-postgres"
	cd "$(DEMO)-postgres" && "$(CURDIR)/$(BIN)/python" "$(CURDIR)/tests/demo_postgres.py"

$(VENV)/peers: $(VENV)/installed benchmarks/requirements.txt
	$(PIP) install -r benchmarks/requirements.txt
	@touch "$(VENV)/peers"

peers:
	@$(MAKE) --no-print-directory VENV="$(BENCH)" "$(BENCH)/peers"

bench: peers
	"$(BENCH)/bin/python" -m benchmarks $(ARGS)

bench-postgres: peers $(VENV)/developer
	"$(BENCH)/bin/python" -m pip --disable-pip-version-check --quiet install -e '.[test]'
	"$(BENCH)/bin/python" -m benchmarks.postgres $(ARGS)

bench-quick: peers
	"$(BENCH)/bin/python" -m benchmarks --quick $(ARGS)

clean:
	rm -rf "$(VENV)" build taskmaster.egg-info .mypy_cache .pytest_cache .ruff_cache
