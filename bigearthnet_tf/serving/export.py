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
from bigearthnet_tf.serving.formats import ASSETS, DESCRIPTION, FORMATS, Groups

# Largest difference of a score, between 0 and 1. Runtimes add in their own order;
# float32 has 6e-8 of it there, which some hundred additions multiply.
TOLERANCE = 1e-5
# Two sizes of batch, neither of which is traced, and one that is not.
_BATCHES = (1, 3)
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
    without data.

    Args:
        model: of `scores.with_scores`.
        path: the export.
        form: its format.

    Returns:
        The largest difference of a score.

    Raises:
        ValueError: more than 1e-5, or another description.
    """
    kind = FORMATS.get(form)
    facts = model.get_layer(scores.OUTPUT).description
    run, stored = kind.open(path)
    if stored != facts:
        raise ValueError(f"{path.name}: the {form} export lost its description")
    largest = 0.0
    for count in _BATCHES:
        groups = examples(facts, count)
        expected = np.asarray(model(groups, training=False)[scores.OUTPUT])
        got = np.asarray(run(groups))
        if got.shape != expected.shape or not np.isfinite(got).all():
            raise ValueError(
                f"{facts['model_name']}: the {form} export gives scores of shape "
                f"{got.shape} for {expected.shape}, or such that are not finite; "
                "nothing was written"
            )
        largest = max(largest, float(np.abs(got - expected).max()))
    if largest > TOLERANCE:
        raise ValueError(
            f"{facts['model_name']}: the scores of the {form} export differ by "
            f"{largest:.2g}, more than {TOLERANCE:g}; nothing was written"
        )
    return largest


def examples(facts: Mapping[str, Any], count: int) -> Groups:
    """Returns patches of noise for a description, the last one without data.

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
        values = rng.normal(centre, spread, shape)
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
