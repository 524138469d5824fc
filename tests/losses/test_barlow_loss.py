"""Barlow Twins against float64 brute force, reference values and closed forms."""

import json

import numpy as np
import pytest
import tensorflow as tf
from programs import run_program

from bigearthnet_tf import losses


def brute_force(one, other, form="population"):
    """Terms on and off the diagonal, number by number in float64."""
    n, dims = one.shape
    columns = []
    for view in (one.astype(np.float64), other.astype(np.float64)):
        centred = view - view.sum(0) / n
        squares = (centred**2).sum(0)
        root = np.sqrt(
            squares / n + 1e-5 if form == "population" else squares / (n - 1)
        )
        columns.append(centred / root)
    on = off = 0.0
    for i in range(dims):
        for j in range(dims):
            c = sum(columns[0][k, i] * columns[1][k, j] for k in range(n)) / n
            if i == j:
                on += (c - 1) ** 2
            else:
                off += c**2
    return on, off


def views(count, dims=6, seed=0):
    rng = np.random.default_rng(seed)
    one = rng.normal(3, 2, (count, dims)).astype(np.float32)
    return one, (one + rng.normal(size=one.shape)).astype(np.float32)


@pytest.mark.parametrize("form", ["population", "sample"])
@pytest.mark.parametrize("count", [2, 7, 32])
def test_a_loop_in_float64(count, form):
    one, other = views(count)
    found = losses.barlow_twins(one, other, 0.01, form=form)
    on, off = brute_force(one, other, form)
    assert float(found.on_diagonal) == pytest.approx(on, rel=1e-4, abs=1e-6)
    assert float(found.off_diagonal) == pytest.approx(off, rel=1e-4, abs=1e-5)
    assert float(found.loss) == pytest.approx(on + 0.01 * off, rel=1e-4, abs=1e-6)


def test_the_reference_values(shared):
    folder = shared / "reference/self_supervised"
    expected = json.loads((folder / "expected.json").read_text())["barlow_twins"]
    assert len(expected) == 6
    forms = {
        "population": "population_std_eps_1e-5_inside_root",
        "sample": "sample_std_no_eps_old_form",
    }
    with np.load(folder / "cases.npz") as cases:
        for case in expected:
            one, other = cases[case["a"]], cases[case["b"]]
            for form, key in forms.items():
                found = losses.barlow_twins(one, other, case["lambda"], form=form)
                for value, name in zip(found, ("loss", "on", "off"), strict=True):
                    assert float(value) == pytest.approx(case[key][name], rel=1e-5)


def test_equal_views_have_no_loss_on_the_diagonal():
    one, _ = views(64)
    assert float(losses.barlow_twins(one, one, 0.0).loss) < 1e-6
    # The older form leaves D / N^2, whatever is learnt.
    old = losses.barlow_twins(one, one, 0.0, form="sample")
    assert float(old.loss) == pytest.approx(6 / 64**2, rel=1e-3)


def test_independent_noise_leaves_chance_off_the_diagonal():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 500, 64)).astype(np.float32)
    found = float(losses.barlow_twins(one, other, 1.0).off_diagonal)
    assert found == pytest.approx(64 * 63 / 500, rel=0.1)


def test_a_constant_dimension_stays_finite():
    one, other = views(8)
    one[:, 0] = other[:, 0] = 5
    with tf.GradientTape() as tape:
        inputs = tf.constant(one), tf.constant(other)
        tape.watch(inputs)
        found = losses.barlow_twins(*inputs, 0.01)
    assert np.isfinite(found.loss)
    assert all(np.isfinite(g).all() for g in tape.gradient(found.loss, inputs))
    old = losses.barlow_twins(one, other, 0.01, form="sample")
    assert not np.isfinite(old.loss)


def test_low_precision_is_computed_in_float32():
    low = [tf.cast(x, tf.bfloat16) for x in views(16)]
    exact = losses.barlow_twins(*(tf.cast(x, tf.float32) for x in low), 0.01)
    np.testing.assert_array_equal(losses.barlow_twins(*low, 0.01).loss, exact.loss)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="expected a form of population, sample"):
        losses.barlow_twins(*views(4), 0.01, form="old")


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from bigearthnet_tf import losses
from bigearthnet_tf.tasks import gathering

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 5)).astype(np.float32)
start = rng.normal(size=(5, 4)).astype(np.float32)


def loss_and_gradient(strategy, size):
    with strategy.scope():
        w = tf.Variable(start)

    def step(one, other):
        with tf.GradientTape() as tape:
            one, other = (gathering.gather(v @ w).whole for v in (one, other))
            loss = losses.barlow_twins(one, other, 0.1).loss
            share = loss * size / 8  # what a replica adds to the mean over the batch
        gradient = tape.gradient(share, w)
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", [share, gradient])

    parts = [tf.constant(v.reshape(-1, size, 5)) for v in x]
    pick = lambda c: tuple(p[c.replica_id_in_sync_group] for p in parts)
    values = strategy.experimental_distribute_values_from_function(pick)
    run = tf.function(lambda: strategy.run(step, args=values))
    return [strategy.experimental_local_results(v)[0].numpy() for v in run()]


one = loss_and_gradient(tf.distribute.OneDeviceStrategy("/cpu:0"), 8)
two = loss_and_gradient(tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]), 4)
np.testing.assert_allclose(two[0], one[0], rtol=1e-6)
np.testing.assert_allclose(two[1], one[1], rtol=0, atol=1e-5 * np.abs(one[1]).max())
apart = np.mean(
    [losses.barlow_twins(*(v[a : a + 4] @ start for v in x), 0.1).loss for a in (0, 4)]
)
print(abs(apart - one[0]) > 1e-2)
"""


def test_two_replicas_have_the_loss_and_gradient_of_the_whole_batch():
    assert run_program(REPLICAS) == "True"
