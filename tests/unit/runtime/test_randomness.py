"""Random numbers in forked processes."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import pytest

from taskmaster.runtime.randomness import reseed


def test_both_generators_are_seeded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy's only where it is loaded, and it is not loaded for that."""
    state = random.getstate()
    monkeypatch.delitem(sys.modules, "numpy.random", raising=False)
    random.seed(1)
    first = random.random()
    random.seed(1)
    reseed()

    assert random.random() != first
    assert "numpy.random" not in sys.modules

    calls: list[bool] = []
    monkeypatch.setitem(sys.modules, "numpy.random", SimpleNamespace(seed=lambda: calls.append(True)))
    reseed()

    assert calls == [True]

    random.setstate(state)
