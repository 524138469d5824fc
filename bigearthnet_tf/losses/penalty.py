"""What is added to a loss to keep weights small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops


def l2_penalty(
    variables: Iterable[keras.Variable], scale: float, on: str = "kernels"
) -> Any:
    """Returns half of `scale` times the sum of squares of kernels, or of all variables.

    That is `l2_regularizer` of TF-Slim, which the TF project declared for its
    convolutions (1e-4 in ResNets, 5e-4 in VGGs) and did not add to its loss. Of all
    variables, its gradient is what `weight_decay` of torch's Adam and SGD adds.

    Args:
        variables: of a model. Kernels are those named `...kernel`, thus the weights of
            convolutions and dense layers, and neither biases, nor normalisations, nor
            the tokens and positions of transformers.
        scale: at least 0.
        on: `kernels`, or `all` for every variable.

    Returns:
        A scalar, float32; zero if nothing counts.
    """
    total = ops.convert_to_tensor(0.0, "float32")
    for variable in variables:
        if on == "all" or variable.name.endswith("kernel"):
            total += ops.sum(ops.square(ops.cast(variable, "float32")))
    return 0.5 * scale * total
