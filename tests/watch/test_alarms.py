"""Rules on curves: when they ring, how often, and when they are quiet."""

import math
import random

import pytest

from scaleup.watch import alarms


def run(count=60, **curves):
    """A sound run; `curves` are {field: {step: value}} or {field: function of the step}."""
    noise = random.Random(1)
    steps = []
    for number in range(count):
        step = {"step": number, "loss": 6 * 0.995**number + noise.gauss(0, 0.05),
                "gradient_norm": 1 + noise.gauss(0, 0.1), "tokens_per_second": 1000 + noise.gauss(0, 20),
                "seconds": 0.5, "input_wait": 0.001, "own_seconds": [0.2, 0.21]}  # fmt: skip
        for name, values in curves.items():
            step[name] = values(number) if callable(values) else values.get(number, step[name])
        steps.append(step)
    return steps


def names(steps):
    return [alarm.name for alarm in alarms.alarms(steps)]


def test_a_sound_run_is_quiet():
    assert names(run(400)) == []


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ({"loss": {40: 9.0, 41: 8.0}}, "loss spike"),
        ({"gradient_norm": {40: 12.0}}, "gradient norm"),
        ({"loss": {40: math.nan}}, "not a number"),
        ({"gradient_norm": {40: math.inf}}, "not a number"),
        ({"seconds": {40: 3.0}}, "slow step"),
        ({"tokens_per_second": lambda n: 1000 if n < 40 else 600}, "tokens/s"),
        ({"input_wait": lambda n: 0.2 if 40 <= n < 50 else 0.001}, "input wait"),
        ({"own_seconds": lambda n: [0.2, 0.5] if n >= 40 else [0.2, 0.2]}, "straggler"),
    ],
)
def test_each_fault_rings_its_alarm_at_its_step(curves, expected):
    found = {alarm.name: alarm for alarm in alarms.alarms(run(**curves))}
    assert found[expected].began == 40
    assert found[expected].why


def test_a_falling_loss_is_no_spike_and_a_rising_rate_no_alarm():
    assert names(run(loss=lambda n: 10 * 0.9**n, tokens_per_second=lambda n: 1000 + 50 * n)) == []


def test_two_limits_ring_once_where_one_would_ring_often():
    waits = {n: 0.5 * (0.25 if n % 2 else 0.15) for n in range(30, 60)}  # trembles around 0.2
    two = [rule for rule in alarms.RULES if rule.name == "input wait"]
    patient = [alarms.Rule("w", two[0].of, two[0].value, 0.2, 0.1, 1, 0)]
    hasty = [alarms.Rule("w", two[0].of, two[0].value, 0.2, 0.2, 1, 0)]
    steps = run(input_wait=waits)
    assert len(alarms.alarms(steps, patient)) == 1
    assert len(alarms.alarms(steps, hasty)) == 15


def test_patience_counts_steps_in_a_row_and_dates_the_alarm_back():
    rule = [rule for rule in alarms.RULES if rule.name == "input wait"]
    assert alarms.alarms(run(input_wait={40: 0.3, 41: 0.3, 43: 0.3, 44: 0.3}), rule) == []
    (alarm,) = alarms.alarms(run(input_wait=lambda n: 0.3 if 40 <= n < 50 else 0.0), rule)
    assert (alarm.began, alarm.ended) == (40, 50)


def test_an_alarm_does_not_get_used_to_itself():
    found = {
        alarm.name: alarm for alarm in alarms.alarms(run(200, gradient_norm=lambda n: 9 if n > 40 else 1))
    }
    assert found["gradient norm"].ended is None


def test_a_resumed_run_begins_anew():
    first = run(50, loss={45: 12.0})
    watcher = alarms.Watcher()
    for step in [*first[:46], *run(60)[30:]]:
        watcher.see(step)
    assert [(alarm.name, alarm.ended) for alarm in watcher.alarms] == [("loss spike", 30)]


def test_fields_that_a_run_did_not_note_ring_nothing():
    assert names([{"step": n, "loss": 5.0, "tokens_per_second": 10.0} for n in range(40)]) == []
