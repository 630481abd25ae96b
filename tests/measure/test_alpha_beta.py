"""scaleup.measure.alpha_beta: the line through measured times, by relative errors."""

import pytest

from scaleup.errors import CourseError
from scaleup.measure import alpha_beta

SIZES = (1_000, 100_000, 10_000_000)


def times(alpha=1e-3, beta=1e-9, **changed):
    return {size: [alpha + beta * size] * 3 for size in SIZES} | changed


def test_times_on_a_line_give_that_line():
    found = alpha_beta.fit(times())
    assert found.alpha == pytest.approx(1e-3)
    assert found.bandwidth == pytest.approx(1e9)
    assert found.seconds(1_000_000) == pytest.approx(2e-3)
    assert found.half_size == pytest.approx(1_000_000)


def test_the_median_of_each_size_counts():
    disturbed = {size: [*each, 100.0] for size, each in times().items()}
    assert alpha_beta.fit(disturbed) == alpha_beta.fit(times())


def test_errors_count_relative_to_the_time():
    """The largest time is 10 % too long. By absolute errors alpha would be far below zero."""
    exact = times(1e-3, 1e-7)
    disturbed = exact | {20_000_000: [1.1 * (1e-3 + 2.0)]}
    assert alpha_beta.fit(disturbed).alpha == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({1_000: [1e-3]}, "two sizes"),
        ({1_000: [1e-3], 2_000: [0.0]}, "not positive"),
        ({1_000: [2e-3], 2_000_000: [1e-3]}, "further apart"),
        ({1_000_000: [1e-3], 2_000_000: [3e-3]}, "further apart"),
    ],
)
def test_what_gives_no_line_is_said(measured, said):
    with pytest.raises(CourseError, match=said):
        alpha_beta.fit(measured)
