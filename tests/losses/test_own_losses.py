"""Losses that a user registers: one number a sample, tried before a run begins."""

import numpy as np
import pytest
from keras import ops

from bigearthnet_tf import losses

ZEROS = np.zeros((2, 3), np.float32)


@pytest.fixture
def built():
    """Registers a function as a loss; returns it as a run would build it."""
    names = []

    def register(name, function):
        losses.register_loss(name)(function)
        names.append(name)
        return losses.LOSSES.get(name), losses.build_loss(name)

    yield register
    for name in names:
        losses.LOSSES.remove(name)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda labels: labels, "fails: TypeError"),
        (lambda labels, logits: ops.mean(labels), r"\(batch,\), got shape \(\)$"),
        (lambda labels, logits: labels - logits, r"\(batch,\), got shape \(2, 3\)$"),
        (lambda labels, logits: None, r"\(batch,\), got NoneType$"),
        (lambda labels, logits: labels.nothing, "fails: AttributeError"),
    ],
)
def test_what_gives_no_number_a_sample_is_refused_in_one_line(built, function, says):
    entry, loss = built("odd", function)
    with pytest.raises(ValueError, match=f"^loss 'odd'.*{says}") as caught:
        losses.check_own("odd", entry, loss, ZEROS, ZEROS)
    assert "\n" not in str(caught.value)


def test_a_sound_one_passes_and_those_of_the_package_are_not_called(built):
    called = []

    def good(labels, logits):
        called.append(labels.shape)
        return ops.mean(labels, axis=-1)

    entry, loss = built("good", good)
    losses.check_own("good", entry, loss, ZEROS, ZEROS)
    assert called == [(2, 3)]
    # Weights of positives take a pass over the records.
    losses.check_own("focal", losses.LOSSES.get("focal"), None, ZEROS, ZEROS)
