"""Young's interval is the best one of a simulation, too; and it cannot be asked for nonsense."""

import numpy as np
import pytest

from scaleup.checkpoint import young_daly


def lost(interval: float, save: float, failure: float, seed: int) -> float:
    """Share of the time that is lost, simulated over many failures at random times."""
    rng = np.random.default_rng(seed)
    times = rng.exponential(failure, 20_000)
    done = (times // (interval + save)) * interval
    return 1 - done.sum() / times.sum()


@pytest.mark.parametrize(("save", "failure"), [(10, 10_000), (60, 40_000), (1, 500)])
def test_no_other_interval_loses_clearly_less(save, failure):
    best = lost(young_daly(save, failure), save, failure, seed=3)
    for factor in (0.25, 0.5, 2, 4):
        assert lost(factor * young_daly(save, failure), save, failure, seed=3) > 0.98 * best
    assert lost(4 * young_daly(save, failure), save, failure, seed=3) > 1.5 * best


@pytest.mark.parametrize(("save", "failure"), [(0, 10), (10, 0), (-1, 10)])
def test_times_are_longer_than_nothing(save, failure):
    with pytest.raises(ValueError, match="longer than 0"):
        young_daly(save, failure)
