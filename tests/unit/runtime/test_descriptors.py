"""Which descriptors are open, also on a machine that lists them nowhere."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from taskmaster.runtime import descriptors
from taskmaster.runtime.descriptors import open_descriptors


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the folders that list them, as where ``/proc`` is not mounted."""

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "iterdir", gone)


def test_a_file_is_listed_while_it_is_open() -> None:
    """By its number, and not after it was closed."""
    with open(os.devnull) as file:
        number = file.fileno()
        assert number in open_descriptors()

    assert number not in open_descriptors()


def test_without_a_list_each_number_is_tried(unlisted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit of the process; the same ones are found."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    with open(os.devnull) as file:
        number = file.fileno()
        assert number in open_descriptors()

    assert number not in open_descriptors()


@pytest.mark.parametrize("limit", [-1, 2**40], ids=["no limit", "a high one"])
def test_without_a_limit_not_every_number_is_tried(unlisted: None, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """A process may have a limit of billions, and the search would take hours."""
    tried: list[int] = []

    def note(number: int) -> bool:
        tried.append(number)
        return number == 3

    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(descriptors, "_is_open", note)

    assert open_descriptors() == [3]
    assert len(tried) == descriptors.MOST_TRIED
