"""A finished model as one file or folder that needs nothing of ours to run.

Every format takes digital numbers by the names of the band groups and gives `scores`,
(batch, labels); what they mean is inside. It is opened in its own runtime and compared
with the original before it gets its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bigearthnet_tf import files, outputs
from bigearthnet_tf.models import scores
from bigearthnet_tf.outputs import StrPath
from bigearthnet_tf.serving import description, hub
from bigearthnet_tf.serving.formats import ASSETS, DESCRIPTION, FORMATS, Groups, Run

# Runtimes add in an order of their own, which changes logits as much as if each weight
# were off by some units in its last place (backward error analysis; Higham, Accuracy
# and Stability of Numerical Algorithms, section 3.1). So much are they changed here:
# sixteen units, the square root of the few hundred terms of a sum.
_WEIGHT_ERROR = 2.0**-20
# Draws of such weights, and how many times as far as the farthest an export may be.
_DRAWS, _MARGIN = 3, 8
# Of a sigmoid: some runtimes approximate it to a few units of 6e-8.
_SIGMOID_ERROR = 5e-7
# Two sizes of batch, neither of which is traced, and one that is not.
_BATCHES = (1, 3)
# Pixels that must not get a score.
_BROKEN = (np.nan, np.inf, -np.inf)
# What TensorFlow writes into the folder of a SavedModel, with what is ours.
SAVED_MODEL = (
    *("saved_model.pb", "fingerprint.pb", "keras_metadata.pb"),
    *("variables", "assets", ASSETS),
)


def export(
    name: str | Path, out: Path | str, form: str, *, overwrite: bool = False
) -> Path:
    """Writes a classifier in a format that other programs run.

    Args:
        name: whatever `from_pretrained` takes and says its architecture itself: a run,
            a checkpoint, a published folder or its id.
        out: what to write; it appears when it is complete and checked.
        form: `keras`, `savedmodel`, `onnx` or `litert`.
        overwrite: replace an earlier export of this format.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: no scores of labels, the format can't hold the model, a package is
            missing, something is in the way, or the export gives other scores.
        OSError: it can't be written.
    """
    out, kind = Path(out), FORMATS.get(form)
    if kind.suffix and out.suffix != kind.suffix:
        raise ValueError(
            f"{out}: expected a name that ends in {kind.suffix} for {form}"
        )
    _check_free(out, bool(kind.suffix), overwrite, name)
    kind.check()
    finished = hub.open_finished(name)
    facts = description.describe(finished)
    model = scores.with_scores(finished.model, facts)
    with files.temporary_beside(out) as folder:
        made = folder / out.name
        kind.write(model, made)
        verify(model, made, form)
        if out.is_dir():
            out.rename(folder / "earlier")
        made.rename(out)
    return out


def verify(model: keras.Model, path: Path, form: str) -> float:
    """Compares an export with its model, in the runtime of its format.

    Batches of one and of three patches: noise about each band's mean, and a patch
    without data. What a score may differ by follows from the network: see
    `rounding`. Patches with a pixel that is NaN or infinite must have scores of NaN.

    Args:
        model: of `scores.with_scores`.
        path: the export.
        form: its format.

    Returns:
        The largest difference of a score.

    Raises:
        ValueError: other scores than rounding explains, finite ones of pixels that
            are not, or another description.
    """
    kind = FORMATS.get(form)
    facts = model.get_layer(scores.OUTPUT).description
    run, stored = kind.open(path)
    if stored != facts:
        raise ValueError(f"{path.name}: the {form} export lost its description")
    largest = 0.0
    for count in _BATCHES:
        groups = examples(facts, count)
        expected = np.asarray(model(groups, training=False)[scores.OUTPUT], float)
        got = np.asarray(run(groups), float)
        if got.shape != expected.shape or not np.isfinite(got).all():
            raise ValueError(
                f"{facts['model_name']}: the {form} export gives scores of shape "
                f"{got.shape} for {expected.shape}, or such that are not finite; "
                "nothing was written"
            )
        # The slope of the sigmoid.
        allowed = rounding(model, groups) * expected * (1 - expected) + _SIGMOID_ERROR
        differing = np.abs(got - expected)
        if (differing > allowed).any():
            worst = np.unravel_index((differing - allowed).argmax(), got.shape)
            raise ValueError(
                f"{facts['model_name']}: the scores of the {form} export differ by "
                f"{differing[worst]:.2g}, where rounding explains {allowed[worst]:.2g};"
                " nothing was written"
            )
        largest = max(largest, float(differing.max()))
    _check_marks(facts, run, form)
    return largest


def rounding(model: keras.Model, groups: Groups) -> float:
    """Returns how far float32's rounding may move a logit on its way.

    Measured: by how much the logits of these patches change with weights that are off
    in their last places.

    Args:
        model: of `scores.with_scores`.
        groups: band groups of some patches.
    """
    network = keras.Model(model.input, model.get_layer(scores.OUTPUT).input)
    expected = np.asarray(network(groups, training=False), float)
    rng = np.random.default_rng(0)
    farthest = 0.0
    for _ in range(_DRAWS):
        variables = [
            [_jittered(np.asarray(variable), rng) for variable in kind]
            for kind in (network.trainable_variables, network.non_trainable_variables)
        ]
        moved, _ = network.stateless_call(*variables, groups, training=False)
        farthest = max(farthest, float(np.abs(np.asarray(moved) - expected).max()))
    return _MARGIN * farthest


def _jittered(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    factors = 1 + _WEIGHT_ERROR * (2 * rng.random(values.shape, np.float32) - 1)
    return values * factors.astype(values.dtype)


def _check_marks(facts: Mapping[str, Any], run: Run, form: str) -> None:
    """Raises ValueError where pixels that are not finite get scores that are."""
    for name, pixels in examples(facts, len(_BROKEN)).items():
        if pixels.dtype.kind != "f":
            continue
        broken = pixels.copy()
        for patch, value in enumerate(_BROKEN):
            broken[patch, -1, patch, 0] = value
        got = np.asarray(run({**examples(facts, len(_BROKEN)), name: broken}))
        if not np.isnan(got).all():
            raise ValueError(
                f"{facts['model_name']}: the {form} export gives scores for patches "
                "with pixels that are NaN or infinite; nothing was written"
            )


def examples(facts: Mapping[str, Any], count: int) -> Groups:
    """Returns patches of noise for a description, the last one without data.

    The noise is of the bands' standard deviations in the first patch and of a third of
    those in each following one: a trained model is sure of much of what it has never
    seen, and a score of 1 tells no export from another.

    Args:
        facts: description of a model.
        count: number of patches.
    """
    rng = np.random.default_rng(count)
    mean, std = (facts["statistics"][key] for key in ("mean", "std"))
    groups = {}
    for group in facts["inputs"]:
        shape = count, *group["shape"][1:]
        centre, spread = (
            np.array([table[band] for band in group["bands"]])[:, None, None]
            for table in (mean, std)
        )
        shares = 3.0 ** -np.arange(count)[:, None, None, None]
        values = centre + spread * shares * rng.normal(size=shape)
        if group["dtype"] == "uint16":
            values = values.clip(0, np.iinfo(np.uint16).max)
        if count > 1:
            values[-1] = 0
        groups[group["name"]] = values.astype(group["dtype"])
    return groups


def _check_free(out: Path, is_file: bool, overwrite: bool, name: StrPath) -> None:
    made_by = outputs.contains("bigearthnet_tf")
    if is_file:
        outputs.check_file(out, made_by, [name])
    else:
        outputs.check_replaceable(out, SAVED_MODEL, [name])
        facts = out / ASSETS / DESCRIPTION
        if (
            out.is_dir()
            and any(out.iterdir())
            and not outputs.beside(facts, made_by)(out)
        ):
            raise FileExistsError(
                f"{out}: is no export of this program; choose another name"
            )
    there = (
        out.stat().st_size > 0 if out.is_file() else out.is_dir() and any(out.iterdir())
    )
    if there and not overwrite:
        raise ValueError(
            f"{out}: is there already; choose another name, or say --overwrite"
        )
