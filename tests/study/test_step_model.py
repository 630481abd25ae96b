"""The small models find the numbers that made the times, and say where the points cannot tell."""

import numpy as np
import pytest

from scaleup.errors import CourseError
from scaleup.study.step_model import Overlapped, fit, fit_overlapped, ring

POINTS = [{"turns": 512 / ranks + 7, "step": 1.0} for ranks in (2, 4, 8, 16, 32)]


def test_costs_that_made_the_times_are_found_and_parts_add_up():
    found = fit(POINTS, [1.25 * point["turns"] + 6 for point in POINTS])
    assert found.costs == pytest.approx({"turns": 1.25, "step": 6})
    assert found.worst < 1e-9
    assert sum(found.parts(POINTS[0]).values()) == pytest.approx(found.seconds(POINTS[0]))


def test_noise_of_a_hundredth_moves_the_costs_by_hundredths():
    draw = np.random.default_rng(2)
    times = [(1.25 * p["turns"] + 6) * (1 + draw.normal(0, 0.01)) for p in POINTS]
    found = fit(POINTS, times)
    assert found.costs["turns"] == pytest.approx(1.25, rel=0.03) and found.worst < 0.03
    assert found.costs["step"] == pytest.approx(6, rel=0.2)


def test_no_cost_is_below_zero():
    found = fit(POINTS, [1.25 * point["turns"] - 3 for point in POINTS])
    assert found.costs["step"] == 0 and found.costs["turns"] > 0


@pytest.mark.parametrize(
    "points, seconds, said",
    [
        ([], [], "do not belong together"),
        (POINTS, [1.0], "do not belong together"),
        (POINTS[:1], [1.0], "2 terms need as many points"),
        (POINTS, [1.0, 1.0, 1.0, 0.0, 1.0], "took no time"),
        ([{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 0.0}], [1, 2], "No point has any b"),
        ([{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 4.0}], [1, 2], "do not tell a and b apart"),
    ],
)
def test_what_cannot_be_fitted_is_said(points, seconds, said):
    with pytest.raises(CourseError, match=said):
        fit(points, seconds)


def test_a_ring_sends_nothing_from_a_single_node_and_nearly_twice_the_size_from_many():
    assert ring(1, 8, 1e9) == {"messages": 0, "bytes": 0}
    assert ring(2, 2, 1e9) == {"messages": 6, "bytes": 1.5e9}
    assert ring(1000, 4, 1e9)["bytes"] == pytest.approx(2e9, rel=1e-3)


TRUE = Overlapped(fixed=0.1, per_sequence=0.4, start=0.2, per_device=0.005, hidden=0.6)
RUNS = [(micro, devices) for micro in (1, 2, 4) for devices in (8, 16, 32, 64, 128, 256)]


def test_the_knee_of_communication_that_hides_is_found():
    found = fit_overlapped(RUNS, [TRUE.seconds(*run) for run in RUNS])
    assert max(map(abs, found.errors)) < 0.01
    for micro in (1, 2, 4):
        assert found.knee(micro) == pytest.approx(TRUE.knee(micro), rel=0.1)


def test_before_the_knee_nothing_is_seen_of_communication():
    knee = TRUE.knee(1)
    assert TRUE.exposed(1, knee * 0.99) == 0 < TRUE.exposed(1, knee * 1.01)
    assert TRUE.seconds(1, 8) == TRUE.computing(1)
    assert TRUE.knee(4) > TRUE.knee(2) > TRUE.knee(1)


def test_five_numbers_need_six_points():
    with pytest.raises(CourseError, match="six points"):
        fit_overlapped(RUNS[:5], [1.0] * 5)
