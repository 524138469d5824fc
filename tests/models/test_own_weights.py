"""Weights of our own runs have names that do not depend on what was built before."""

import long_tests
import networks
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import borrowed, published

# Keras warns of other than 1 or 3 bands when it is told their number.
pytestmark = pytest.mark.filterwarnings("ignore:This model usually expects")

QUICK = ("keras/convnext_tiny", "keras/mobilenet_v3_small")
# The smallest of each family that Keras has.
SLOW = (
    "keras/densenet121",
    "keras/efficientnet_b0",
    "keras/efficientnetv2_b0",
    "keras/inception_resnet_v2",
    "keras/mobilenet_v2",
    "keras/mobilenet_v3_large",
    "keras/nasnet_mobile",
    "keras/resnet50_v2",
    "keras/xception",
)
OWN = [name for name in models.list_models("*_test") if "/" not in name]


def test_every_family_of_keras_has_a_row():
    stems = {n.removeprefix("keras/")[:7] for n in (*QUICK, *SLOW)}
    assert {name[:7] for name in borrowed.APPLICATIONS} == stems


@pytest.mark.parametrize(
    "name",
    long_tests.beyond([*OWN, *QUICK], [*OWN, *QUICK, *SLOW]),
)
def test_they_go_into_the_model_that_is_built_next(name):
    application = borrowed.APPLICATIONS.get(name.removeprefix("keras/"))
    pixels = max(32, application.smallest if application else 0)
    one = networks.build(name, 12, pixels=pixels, seed=1)
    tensors = published.dump(one, published.own_name, torch=False)
    other = networks.build(name, 12, pixels=pixels, seed=2)
    again = published.dump(other, published.own_name, torch=False)
    assert list(again) == list(tensors)
    published.load(other, tensors, published.own_name, torch=False, where="run")
    for name, value in published.dump(other, published.own_name, torch=False).items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)
