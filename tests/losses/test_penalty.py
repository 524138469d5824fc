"""The L2 penalty against a sum in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import losses, models


def build_model(name):
    group = models.BandGroup("rgb", ("r", "g", "b"), 16, "float32")
    facts = dict.fromkeys(group.bands, 1.0)
    return models.assemble(name, 5, [group], group.bands, facts, facts)


@pytest.mark.parametrize("name", ["resnet_test", "convnext_test", "k_branch_test"])
def test_half_the_sum_of_squares_of_convolutions_and_dense_layers(name):
    model = build_model(name)
    kinds = (
        keras.layers.Conv2D,
        keras.layers.DepthwiseConv2D,
        keras.layers.Dense,
    )
    flat = model._flatten_layers(include_self=False, recursive=True)
    kernels = {
        id(layer.kernel): np.asarray(layer.kernel)
        for layer in flat
        if isinstance(layer, kinds)
    }
    expected = sum((np.float64(kernel) ** 2).sum() for kernel in kernels.values()) / 2
    assert len(kernels) > 4
    penalty = losses.l2_penalty(model.trainable_variables, 1e-4)
    assert float(penalty) == pytest.approx(1e-4 * expected, rel=1e-5)


def test_nothing_else_counts():
    variables = [
        keras.Variable(np.full(shape, 3.0, "float32"), name=name)
        for name, shape in {
            "kernel": (2, 2),
            "bias": (2,),
            "gamma": (2,),
            "cls_token": (1, 1, 2),
        }.items()
    ]
    assert float(losses.l2_penalty(variables, 0.5)) == 0.25 * 4 * 9
    assert float(losses.l2_penalty(variables[1:], 0.5)) == 0


def test_its_gradient_is_scale_times_kernel_also_for_values_lent_to_a_scope():
    variable = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    lent = tf.constant([[1.0, -2.0], [0.0, 3.0]])
    with tf.GradientTape() as tape:
        tape.watch(lent)
        with keras.StatelessScope([(variable, lent)]):
            penalty = losses.l2_penalty([variable], 0.5)
    assert float(penalty) == 0.25 * 14
    np.testing.assert_allclose(tape.gradient(penalty, lent), 0.5 * lent.numpy())


def test_of_all_parameters_it_is_the_weight_decay_of_torch():
    """Torch's Adam and SGD add the decay times the parameter to its gradient."""
    variables = [
        keras.Variable(np.full((2,), value, "float32"), name=name)
        for name, value in {"kernel": 3.0, "bias": -2.0, "gamma": 1.0}.items()
    ]
    with tf.GradientTape() as tape:
        penalty = losses.l2_penalty(variables, 0.5, "all")
    gradients = tape.gradient(penalty, [variable.value for variable in variables])
    np.testing.assert_array_equal(gradients, [[1.5, 1.5], [-1, -1], [0.5, 0.5]])
