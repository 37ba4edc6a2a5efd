"""What ``tm-ctl status --watch`` draws."""

from __future__ import annotations

from taskmaster.view.watch import Watch


def test_it_is_drawn_over_what_was_there() -> None:
    """From the upper left, each line to its end, and nothing is left below."""
    watch = Watch()
    for second, settled in enumerate([100, 110, 130, 130], 1):
        watch.add({"elapsed": float(second), "settled_here": settled})
    screen = watch.screen(["first", "sec\x1b[31mond"])

    assert screen.startswith("\x1b[Hfirst\x1b[K\nsec?[31mond\x1b[K\n")
    assert screen.endswith("\x1b[K\n\x1b[J")
    assert "▅█▁ up to 20" in screen


def test_a_master_that_says_little_is_shown_all_the_same() -> None:
    """As one of another release."""
    watch = Watch()
    watch.add({})
    watch.add({})

    assert "up to 0" in watch.screen([])
