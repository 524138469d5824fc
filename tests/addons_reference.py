"""What tensorflow-addons 0.23 computed, and how far our numbers are from it.

`DIFFERENCES` has a function for each row of docs/migration/tensorflow_addons.md that
has a number: from the reference to the largest absolute difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bigearthnet_tf import losses, metrics, optimization

PAGE = Path(__file__).parents[1] / "docs" / "migration" / "tensorflow_addons.md"
START = [np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([0.7, -0.3])]
RATE, STEPS = 0.1, 6
ADDONS = "tensorflow_addons_0.23"

Arrays = list[np.ndarray]


class Reference:
    """The arrays of `addons_optimizers.npz`, and the cases of the metrics."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "addons_optimizers.npz") as arrays:
            self.arrays = dict(arrays)
        with np.load(folder / "metrics" / "cases.npz") as arrays:
            cases = dict(arrays)
        expected = json.loads((folder / "metrics" / "expected.json").read_text())
        self.cases = [
            (cases[f"{case}_y"], cases[f"{case}_s"], values[ADDONS])
            for case, values in expected.items()
        ]

    @property
    def gradients(self) -> list[Arrays]:
        """Of every step: those of the kernel and the bias."""
        return [self.of(f"g{step}") for step in range(STEPS)]

    def of(self, name: str) -> Arrays:
        """The kernel and the bias at the end of a trajectory."""
        return [self.arrays[f"{name}_{index}"] for index in (0, 1)]


def course(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[Arrays], l2: float = 0.0
) -> tuple[list[Arrays], Arrays]:
    """Returns the weights after each step, and their averages in the end.

    With `l2` its gradient is added to that of the kernel.
    """
    variables = [
        keras.Variable(value, dtype="float32", name=name)
        for value, name in zip(START, ("kernel", "bias"), strict=True)
    ]
    optimizer.build(variables)
    weights = []
    for kernel, bias in gradients:
        kernel = kernel + l2 * np.asarray(variables[0])
        parts = [tf.constant(part, tf.float32) for part in (kernel, bias)]
        optimizer.apply(parts, variables)
        weights.append([np.asarray(variable) for variable in variables])
    averaged = optimization.averages(optimizer) if optimizer.use_ema else []
    return weights, [np.asarray(average) for average in averaged]


def plain(reference: Reference, ema_momentum: float = 0.0) -> tuple[list[Arrays], Any]:
    """The course of gradient descent without momentum, within MovingAverage and SWA."""
    optimizer = optimization.build_optimizer(
        "sgd", RATE, momentum=0.0, ema_momentum=ema_momentum
    )
    return course(optimizer, reference.gradients)


def largest(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Returns the largest absolute difference of several arrays."""
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(np.asarray(a, float) - b).max()) for a, b in pairs)


def snippet(name: str) -> Any:
    """Returns a function that the page defines."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(next(block for block in blocks if f"def {name}(" in block), namespace)
    return namespace[name]


def by_name(prefix: str) -> Callable[[Reference], float]:
    """Returns the difference of all metrics of a name that begins so."""

    def measure(reference: Reference) -> float:
        pairs = []
        for labels, scores, expected in reference.cases:
            report = metrics.multi_label_report(labels, scores, convention="addons")
            found = metrics.rename(report, "addons")
            pairs += [(found[n], float(expected[n])) for n in found if prefix in n]
        assert pairs
        return max(abs(ours - theirs) for ours, theirs in pairs)

    return measure


def confusion_matrices(reference: Reference) -> float:
    """Returns the difference of the counts."""
    name = "MultiLabelConfusionMatrix"
    return max(
        largest(
            [metrics.confusion_matrices(labels, scores, convention="addons")],
            [np.array(expected[name])],
        )
        for labels, scores, expected in reference.cases
    )


def focal(reference: Reference) -> float:
    """Returns the difference of the sums over the labels.

    The reference took logits of float32 scores, those of exactly 0 and 1 cut.
    """
    name = "SigmoidFocalCrossEntropy_alpha0.25_gamma2_from_logits_mean"
    found = []
    for labels, scores, expected in reference.cases:
        low, high = np.float32(1e-6), np.float32(1 - 1e-6)
        scores = np.clip(scores.astype(np.float32), low, high)
        loss = losses.build_loss("focal")(labels, np.log(scores / (1 - scores)))
        found.append(abs(float(np.mean(loss)) * labels.shape[1] - expected[name]))
    return max(found)


def built(name: str, theirs: str, decay: float) -> Callable[[Reference], float]:
    """Returns the difference of an optimizer as a config makes it."""

    def measure(reference: Reference) -> float:
        optimizer = optimization.build_optimizer(name, RATE, decay)
        weights, _ = course(optimizer, reference.gradients)
        return largest(weights[-1], reference.of(theirs))

    return measure


def keras_lamb(reference: Reference) -> float:
    """Returns how far Keras's own LAMB is."""
    optimizer = keras.optimizers.Lamb(RATE, weight_decay=0.02, epsilon=1e-6)
    weights, _ = course(optimizer, reference.gradients)
    return largest(weights[-1], reference.of("lamb02"))


def average(theirs: str) -> Callable[[Reference], float]:
    """Returns the distance of our moving average from one of theirs."""
    return lambda reference: largest(plain(reference, 0.9)[1], reference.of(theirs))


def average_begun_alike(reference: Reference) -> float:
    """Returns that of the average with what is left of the start added."""
    weights, averaged = plain(reference, 0.9)
    begun = [
        ours + 0.9**STEPS * (before - after)
        for ours, before, after in zip(averaged, START, weights[0], strict=True)
    ]
    return largest(begun, reference.of("ma_avg"))


def mean_of_checkpoints(reference: Reference) -> float:
    """Returns that of the mean after every second step, by the page's function."""
    weights, _ = plain(reference)
    models = []
    for kept in weights[::2]:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.set_weights(kept)
        models.append(model)
    return largest(snippet("mean_of")(models).get_weights(), reference.of("swa_avg"))


def sgdw(reference: Reference) -> float:
    """Returns that of the kernel from SGDW's formula, with a decay of 0.002."""
    optimizer = optimization.build_optimizer("sgd", RATE, momentum=0.0)
    weights, _ = course(optimizer, reference.gradients, l2=0.002 / RATE)
    kernel = START[0]
    for gradient, _ in reference.gradients:
        kernel = kernel - 0.002 * kernel - RATE * gradient.astype(float)
    return largest(weights[-1][:1], [kernel])


def lazy_adam(reference: Reference) -> float:
    """Returns that from Adam's formula with addons' epsilon."""
    optimizer = optimization.build_optimizer("adam", RATE)
    weights, _ = course(optimizer, reference.gradients)
    theirs = []
    for index, value in enumerate(START):
        first = second = 0
        for t, step in enumerate(reference.gradients, start=1):
            gradient = step[index].astype(float)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            rate = RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            value = value - rate * first / (np.sqrt(second) + 1e-7)
        theirs.append(value)
    return largest(weights[-1], theirs)


def group_normalization(reference: Reference) -> float:
    """Returns that of activations of 8 channels in 4 groups."""
    layer = keras.layers.GroupNormalization(groups=4, epsilon=1e-3)
    return largest([layer(reference.arrays["x"])], [reference.arrays["gn"]])


def spectral_normalization(reference: Reference) -> float:
    """Returns that of a kernel from the power iteration in float64."""
    kernel = np.random.default_rng(0).normal(size=(6, 4))
    dense = keras.layers.Dense(4, use_bias=False)
    layer = keras.layers.SpectralNormalization(dense)
    layer.build((None, 6))
    dense.kernel.assign(kernel)
    u = np.asarray(layer.vector_u, float)
    layer(np.ones((1, 6), "float32"), training=True)
    v = u @ kernel.T / np.linalg.norm(u @ kernel.T)
    u = v @ kernel / np.linalg.norm(v @ kernel)
    return largest([dense.kernel], [kernel / (v @ kernel @ u.T)])


def transform(reference: Reference) -> float:
    """Returns that of an image, moved and sheared."""
    ours = keras.ops.image.affine_transform(
        reference.arrays["img"],
        np.array([[1, 0.1, 0.5, 0, 1, 1, 0, 0]], "float32"),
        interpolation="bilinear",
        fill_mode="constant",
        data_format="channels_last",
    )
    return largest([ours], [reference.arrays["tr"]])


def rotate(reference: Reference) -> float:
    """Returns that of an image turned by half a radian, by the page's function."""
    ours = snippet("rotate")(reference.arrays["img"], 0.5)
    return largest([ours], [reference.arrays["rot"]])


DIFFERENCES: dict[str, Callable[[Reference], float]] = {
    "`metrics.F1Score`": by_name("F1Score"),
    "`metrics.FBetaScore`": by_name("FBetaScore"),
    "`metrics.HammingLoss`": by_name("HammingLoss"),
    "`metrics.MultiLabelConfusionMatrix`": confusion_matrices,
    "`losses.SigmoidFocalCrossEntropy`": focal,
    "`optimizers.LAMB`, no decay": built("lamb", "lamb0", 0.0),
    "`optimizers.LAMB`, decay 0.02": built("lamb", "lamb02", 0.02),
    "Keras's `Lamb`, decay 0.02": keras_lamb,
    "`optimizers.AdamW`": built("adamw", "adamw", 0.002 / RATE),
    "`optimizers.AdamW`, its decay as it is": built("adamw", "adamw", 0.002),
    "`optimizers.MovingAverage`": average("ma_avg"),
    "`optimizers.MovingAverage`, begun alike": average_begun_alike,
    "`optimizers.SWA`": average("swa_avg"),
    "`optimizers.SWA`, from checkpoints": mean_of_checkpoints,
    "`optimizers.SGDW`": sgdw,
    "`optimizers.LazyAdam`": lazy_adam,
    "`layers.GroupNormalization`": group_normalization,
    "`layers.SpectralNormalization`": spectral_normalization,
    "`image.transform`": transform,
    "`image.rotate`": rotate,
}
