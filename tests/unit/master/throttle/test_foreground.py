"""The statements of others, by the server's own count of them."""

from __future__ import annotations

from taskmaster.master.throttle.foreground import Foreground


def test_statements_are_compared_with_themselves() -> None:
    """Twice as long is two times, whichever of them is called more often than before."""
    seen = Foreground()
    seen.note({1: (0, 0.0), 2: (0, 0.0)}, alone=True)
    seen.note({1: (100, 0.1), 2: (100, 1.0)}, alone=True)
    assert seen.times is None

    seen.note({1: (100, 0.1), 2: (100, 1.0)}, alone=False)
    seen.note({1: (110, 0.12), 2: (400, 7.0)}, alone=False)

    assert seen.times is not None
    assert abs(seen.times - 2.0) < 1e-9
    assert abs(seen.used(3.0) - 0.5) < 1e-9


def test_statements_of_the_run_and_of_nobody_say_nothing() -> None:
    """Those that were not seen without the run, that are few, or whose counts were reset."""
    seen = Foreground()
    seen.note({1: (0, 0.0), 2: (0, 0.0)}, alone=True)
    seen.note({1: (50, 0.05), 2: (3, 0.1)}, alone=True)
    seen.note({1: (50, 0.05), 2: (3, 0.1), 3: (5, 5.0)}, alone=False)
    seen.note({1: (60, 9.0), 2: (900, 90.0), 3: (500, 500.0)}, alone=False)
    assert seen.times is None
    seen.note({1: (5, 0.001)}, alone=False)
    assert seen.times is None
    assert seen.used(1.5) == 0.0


def test_another_baseline_counts_from_then_on() -> None:
    """What was slow in it, too, is not blamed on the run."""
    seen = Foreground()
    for base, mean in ((0, 0.001), (1000, 0.004)):
        seen.note({1: (base, base * 1.0)}, alone=True)
        seen.note({1: (base + 100, base * 1.0 + 100 * mean)}, alone=True)
        seen.note({1: (base + 100, base * 1.0 + 100 * mean)}, alone=False)
        seen.note({1: (base + 200, base * 1.0 + 200 * mean)}, alone=False)
        assert seen.times is not None
        assert abs(seen.times - 1.0) < 1e-6
