"""Schedules against closed forms in float64, at every step and beyond the end."""

import math
import warnings

import closeness
import numpy as np
import pytest

from bigearthnet_tf import optimization

BASE = 0.5


def cosine(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def closed_form_of_warmup_cosine(t, warmup, total):
    lowest, w = BASE / 10, min(warmup, total - 1)
    if t < w:
        return lowest + t * (BASE - lowest) / max(w - 1, 1)
    return cosine(BASE, lowest, min((t - w) / (total - w), 1))


@pytest.mark.parametrize(
    ("warmup", "total"), [(0, 7), (1, 5), (4, 20), (50, 20), (0, 1), (1000, 1)]
)
def test_warmup_cosine(warmup, total):
    schedule = optimization.build_schedule(
        "warmup_cosine", BASE, total, warmup_iterations=warmup
    )
    steps = range(total + 5)
    expected = [closed_form_of_warmup_cosine(t, warmup, total) for t in steps]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("total", "warmup"),
    [(1, 0), (100, 0), (101, 100), (10_000, 100), (10_001, 10_000), (90_000, 10_000)],
)
def test_warmup_by_the_length_of_the_run(total, warmup):
    schedule = optimization.build_schedule(
        "warmup_cosine", BASE, total, warmup_iterations=-1
    )
    steps = sorted({0, 1, 50, 99, 100, 101, 5000, 9999, 10_000, 50_000, total - 1})
    expected = [closed_form_of_warmup_cosine(t, warmup, total) for t in steps]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-4)


@pytest.mark.parametrize(("rate", "every"), [(0.1, 3), (0.5, 1), (1.0, 4)])
def test_step(rate, every):
    schedule = optimization.build_schedule(
        "step", BASE, 10, decay_rate=rate, decay_step=every
    )
    steps = range(15)
    expected = [BASE * rate ** (t // every) for t in steps]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


def test_steps_of_a_long_run_are_where_they_should_be():
    schedule = optimization.build_schedule("step", BASE, 10**6, decay_step=10_000)
    steps = [9_999, 10_000, 29_999, 30_000]
    expected = [BASE, BASE / 10, BASE / 100, BASE / 1000]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("total", [1, 9])
def test_polynomial(power, total):
    schedule = optimization.build_schedule("polynomial", BASE, total, decay_power=power)
    steps = range(total + 4)
    expected = [BASE * max(0, 1 - t / total) ** power for t in steps]
    closeness.assert_close(rates(schedule, steps), expected, closeness.FORMULA)
    assert float(schedule(total)) == 0


def closed_form_of_one_cycle(t, total):
    first, top, end = BASE / 25, 0.3 * total - 1, total - 1
    if t <= top:
        return cosine(first, BASE, t / top)
    return cosine(BASE, first / 1e4, min((t - top) / (end - top), 1))


@pytest.mark.parametrize("total", [1, 2, 3, 4, 10, 37, 200])
def test_one_cycle(total):
    schedule = optimization.build_schedule("one_cycle", BASE, total)
    steps = range(total + 5)
    expected = [closed_form_of_one_cycle(t, total) for t in steps]
    closeness.assert_close(rates(schedule, steps), expected, closeness.FORMULA)
    assert float(schedule(total - 1)) == pytest.approx(BASE / 250_000, rel=1e-5)


@pytest.mark.parametrize("total", [1, 2, 3, 10, 37])
def test_one_cycle_equals_torch(total):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no step of the optimiser was taken
        theirs = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, BASE, total, cycle_momentum=False
        )
        expected = []
        for _ in range(total):
            expected.append(theirs.get_last_lr()[0])
            theirs.step()
    schedule = optimization.build_schedule("one_cycle", BASE, total)
    ours = rates(schedule, range(total))
    closeness.assert_close(ours, expected, closeness.FORMULA)


@pytest.mark.parametrize(
    ("warmup", "decay", "total"),
    [
        (100, 250, 1000),
        (100, 250_000, 300),
        (5, 7, 12),
        (50, 9, 20),
        (0, 4, 9),
        (3, 0, 9),
    ],
)
def test_warmup_decay(warmup, decay, total):
    """b min((s + 1) / W, 1) min(1, max(0, (T - s) / D)), also where T is below D."""
    schedule = optimization.build_schedule(
        "warmup_decay",
        BASE,
        total,
        warmup_iterations=warmup,
        decay_iterations=decay,
    )
    w = min(warmup, total)
    d = min(decay, total - w)
    steps = sorted({0, w - 1, w, total - d, total, *range(total + 3)} - {-1})
    expected = [
        BASE * min((s + 1) / max(w, 1), 1) * min(1, max(0, (total - s) / max(d, 1)))
        for s in steps
    ]
    found = rates(schedule, steps)
    closeness.assert_close(found, expected, closeness.FORMULA)
    assert max(found) <= BASE * (1 + 1e-6)
    assert found[steps.index(total)] == 0
    # What btfm never reached in runs shorter than its decay.
    assert max(found) >= BASE * 0.9


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (optimization.OneCycle, (BASE, 20)),
        (optimization.WarmupCosine, (BASE, 3, 20)),
        (optimization.WarmupDecay, (BASE, 3, 5, 20)),
    ],
)
def test_schedules_come_back_from_their_configs(kind, arguments):
    schedule = kind(*arguments)
    again = kind.from_config(schedule.get_config())
    assert rates(again, range(22)) == rates(schedule, range(22))


def test_names():
    assert optimization.build_schedule("constant", BASE, 10) is None
    with pytest.raises(ValueError, match="did you mean 'warmup_cosine'"):
        optimization.build_schedule("warm_up_cosine", BASE, 10)
    with pytest.raises(ValueError, match="at least one iteration, got 0"):
        optimization.build_schedule("step", BASE, 0)
