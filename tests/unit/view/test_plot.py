"""The plot of jobs a second: its points, what held the run, and a picture that runs nothing."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from taskmaster.view.plot import Band, Mark, bands, gaps, picture, points

SVG = "{http://www.w3.org/2000/svg}"


def row(at: float, settled: int, **more) -> dict:
    """A row of the history."""
    return {"at": at, "settled": settled, "failed": 0, **more}


def drawn(found: list, marks: tuple = ()) -> ET.Element:
    """The picture, read as XML; the time is shown as whole seconds."""
    return ET.fromstring(picture(found, marks, lambda at, _: f"{at:.0f}"))


def test_points_are_rates():
    """A point has the jobs a second of the seconds before it, what held the run, and the rate that
    was set.
    """
    rows = [row(second, 10 * second, held="paused" if second > 8 else "", rate_limit=20) for second in range(11)]

    found = points(rows)

    assert [one[1] for one in found] == [10.0] * 10
    assert [one[3] for one in found][-3:] == ["", "paused", "paused"]
    assert found[-1][4] == 20


def test_points_are_few_and_end_with_the_newest():
    """Hours of seconds become a few hundred points, the newest among them."""
    found = points([row(float(second), second) for second in range(20_000)])

    assert 100 < len(found) <= 300
    assert found[-1][0] == 19_999.0
    assert {one[1] for one in found} == {1.0}


def test_points_bear_a_clock_that_was_set_back_and_a_new_session():
    """No rate is negative or infinite."""
    found = points([row(10, 100), row(5, 110), row(6, 0), row(6, 5), row(7, 9)])

    assert all(one[1] >= 0 for one in found)


def test_bands_are_the_times_in_which_one_reason_held_the_run():
    """From the point before the first that was held to the last; another reason is another band."""
    held = ["", "", "rate", "rate", "paused", "", "rate"]

    assert bands([[float(at), 1.0, 0, reason, None] for at, reason in enumerate(held)]) == [
        Band(1.0, 3.0, "rate"), Band(3.0, 4.0, "paused"), Band(5.0, 6.0, "rate"),
    ]  # fmt: skip
    assert bands([]) == []


def test_the_line_is_interrupted_between_two_sessions():
    """Not where the rows of long ago are farther apart than the newest."""
    across = [[at, 1.0, 0, "", None] for at in (0, 1, 2, 3, 400, 401, 402)]
    coarse = [[at, 1.0, 0, "", None] for at in (0, 300, 600, 900, 910, 920, 930)]

    assert gaps(across) == {4}
    assert gaps(coarse) == set()
    lines = [one.get("d") for one in drawn(across).findall(f"{SVG}path")]
    assert lines[0].count("M") == 2
    assert lines[0].count("L") == len(across) - 3


def test_the_picture_has_bands_marks_and_the_rate_that_was_set():
    """Each says in words what it is, for those who do not see it."""
    found = [[float(at), 10.0 + at, 0, "throttled" if at == 5 else "", 12.0] for at in range(9)]
    picture = drawn(found, (Mark(4.0, "anna: rate 12/s"), Mark(99.0, "later")))

    titles = [one.text for one in picture.iter(f"{SVG}title")]
    assert titles == ["held back: throttled", "anna: rate 12/s"]
    assert [one.text for one in picture.iter(f"{SVG}text")] == ["0", "10", "20", "0", "4", "8"]
    assert any(one.get("stroke-dasharray") for one in picture.iter(f"{SVG}path"))
    assert picture.get("role") == "img"
    assert picture.get("aria-label")


def test_the_picture_is_no_way_in_for_markup_and_has_no_styles():
    """Texts are escaped, and what a policy forbids is not there."""
    text = picture([[0.0, 1.0, 0, "<script>", None], [1.0, 1.0, 0, "<script>", None]], [Mark(0.5, '"><b>\x1b')], str_of)

    assert "<script" not in text
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "style" not in text
    ET.fromstring(text)


def str_of(at: float, seconds: float) -> str:
    """A time with markup in it."""
    return f"<i>{at}{seconds}"


def test_too_few_points_are_no_picture():
    """A run of a second has no line."""
    assert picture([], (), str_of) == ""
    assert picture([[0.0, 1.0, 0, "", None]], (), str_of) == ""
