"""Published weights in our models, whose bands and labels may have another order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import published
from bigearthnet_tf.tasks.weight_files import Published

logger = logging.getLogger(__name__)

# torchvision's and timm's name for it, in files of InceptionV3.
_AUXILIARY = "AuxLogits."

# How bands start that the published weights do not know.
OtherBands = Literal["refuse", "mean", "zero"]


def load_into(
    model: keras.Model,
    weights: Published,
    labels: Sequence[str],
    *,
    other_bands: OtherBands = "refuse",
    new_head: bool = False,
) -> None:
    """Loads published weights into a model, in its orders of bands and labels.

    An auxiliary head of InceptionV3, which serves its training alone, is left out.

    Args:
        model: of `assembly.build_model`.
        weights: of the same architecture.
        labels: of the model's outputs, in their order.
        other_bands: how the kernels of bands begin that the weights do not know:
            `mean` of those that they know, `zero`, or not at all. Neither changes the
            scale of what is there.
        new_head: leave the last layer as it is.

    Raises:
        ValueError: other bands or labels than these, or another architecture; the
            message names what differs.
    """
    entry = models.get_model(weights.model_name)
    if model.name != entry.keras_name:
        raise ValueError(
            f"{weights.path}: weights of {entry.name!r}, but the model is "
            f"{model.name!r}; set model_name to match"
        )
    _check_encoders(model, weights)
    naming = {"timm": entry.timm, "tf1": entry.tf1, "own": published.own_name}[
        weights.form
    ]
    if naming is None:
        raise ValueError(
            f"{weights.path}: it is not known what the weights of {entry.name!r} are "
            "called there; known for " + ", ".join(_nameable())
        )
    if other_bands not in get_args(OtherBands):
        raise ValueError(
            f"expected other_bands of {', '.join(get_args(OtherBands))}, got "
            f"{other_bands!r}"
        )
    named = _without_auxiliary(published.strip_prefix(model, weights.tensors, naming))
    _turn_bands(model, weights, naming, named, other_bands)
    if new_head:
        logger.info("%s: the head starts afresh", weights.path)
    else:
        _turn_labels(weights, naming, named, labels)
    published.load(
        model,
        named,
        naming,
        torch=weights.is_torch,
        where=weights.path,
        without_head=new_head,
    )


def copy_encoder(classifier: keras.Model, model: keras.Model) -> None:
    """Copies the weights of a classifier to a model with the same encoder.

    Args:
        classifier: with the weights.
        model: whose layers but those of the head have the classifier's names.

    Raises:
        ValueError: a layer is not there, or of another shape.
    """
    theirs = {layer.name: layer for layer in classifier.layers}
    for layer in model.layers:
        if not layer.weights or layer.name.startswith(published.HEAD):
            continue
        source = theirs.get(layer.name)
        if source is None:
            raise ValueError(f"{classifier.name}: no layer {layer.name} to copy from")
        layer.set_weights(source.get_weights())


def _check_encoders(model: keras.Model, weights: Published) -> None:
    """Refuses weights of one network for two encoders, and the other way round."""
    has_two = any(layer.name.startswith("projection_") for layer in model.layers)
    theirs = weights.config is not None and weights.config.encoders != "single"
    if has_two != theirs:
        numbers = "two encoders", "one network for all bands"
        ours, other = numbers if has_two else numbers[::-1]
        raise ValueError(
            f"{weights.path}: weights of {other}, but the model has {ours}; set "
            "encoders to match"
        )


def _without_auxiliary(named: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    kept = {n: v for n, v in named.items() if not n.startswith(_AUXILIARY)}
    if len(kept) < len(named):
        count = len(named) - len(kept)
        logger.info("left out: %d tensors of the auxiliary head %s*", count, _AUXILIARY)
    return kept


def _nameable() -> list[str]:
    entries = map(models.get_model, models.list_models())
    return [entry.name for entry in entries if entry.timm or entry.tf1]


def _turn_bands(
    model: keras.Model,
    weights: Published,
    naming: published.Naming,
    named: dict[str, NDArray[Any]],
    other_bands: OtherBands,
) -> None:
    """Puts the slices of each first kernel into the order of the model's bands."""
    stems = _stems(model)
    seen = [band for stack, _ in stems for band in stack]
    if other_bands == "refuse":
        _check_bands(seen, weights)
    if not set(seen) & set(weights.bands):
        raise ValueError(
            f"{weights.path}: weights for the bands {' '.join(weights.bands)}, none of "
            f"which the model, on {' '.join(seen)}, sees"
        )
    if models.get_model(weights.model_name).inputs == "by_resolution":
        _check_branches(seen, weights)
    for stack, stem in stems:
        # Each of several stacks has the bands of its own resolution.
        one = len(stems) == 1
        given = [band for band in weights.bands if one or band in stack]
        name = naming(stem, "kernel")
        axis = 1 if weights.is_torch else 2
        kernel = named.get(name)
        if kernel is not None and kernel.ndim == 4 and kernel.shape[axis] != len(given):
            raise ValueError(
                f"{weights.path}: {name} has shape {list(kernel.shape)}, of "
                f"{kernel.shape[axis]} bands, expected one of {len(given)}: "
                f"{' '.join(given)}; for other bands give a folder with config.json"
            )
        if stack == given:
            continue
        if kernel is None and weights.form == "own":
            raise ValueError(
                f"{weights.path}: the first kernel of {weights.model_name!r} can't be "
                f"turned to other bands; keep {' '.join(weights.bands)} in this order"
            )
        if kernel is None or kernel.ndim != 4:
            continue  # `published.load` says what is wrong with it.
        slices = np.moveaxis(kernel, axis, 0)
        start = slices.mean(axis=0) * (other_bands == "mean")
        turned = [slices[given.index(b)] if b in given else start for b in stack]
        named[name] = np.moveaxis(np.stack(turned), 0, axis).astype(kernel.dtype)


def _check_bands(seen: Sequence[str], weights: Published) -> None:
    """Refuses weights for other bands than the model's."""
    missing = [band for band in seen if band not in weights.bands]
    unknown = [band for band in weights.bands if band not in seen]
    if missing or unknown:
        also = f"also sees {' '.join(missing)}" if missing else ""
        lacks = f"does not see {' '.join(unknown)}" if unknown else ""
        raise ValueError(
            f"{weights.path}: weights for the bands {' '.join(weights.bands)}, but the "
            f"model {' and '.join(filter(None, (also, lacks)))}; choose those bands, "
            "or set weights_bands (in Python other_bands) to mean or zero"
        )


def _check_branches(seen: Sequence[str], weights: Published) -> None:
    """Refuses weights for more or fewer resolutions than the model has branches for."""
    ours, theirs = (
        {band_facts.BANDS[band].pixels: band for band in bands}
        for bands in (seen, weights.bands)
    )
    for pixels in sorted({*ours, *theirs}):
        if pixels not in ours:
            raise ValueError(
                f"{weights.path}: has a branch for bands of {pixels} pixels, of which "
                f"the model sees none; choose one of them too, such as {theirs[pixels]}"
            )
        if pixels not in theirs:
            raise ValueError(
                f"{weights.path}: has no branch for bands of {pixels} pixels; leave "
                f"them out: {ours[pixels]}, ..."
            )


def _stems(model: keras.Model) -> list[tuple[list[str], str]]:
    """Returns the bands of each stack that enters the network, and its first layer."""
    stacks = [x.order for x in model.layers if x.name.startswith("preprocessing_stack")]
    kernels = [x for x in model.layers if any(len(w.shape) == 4 for w in x.weights)]
    if len(stacks) == 1:
        return [(stacks[0], kernels[0].name)]
    found = []
    for order in stacks:
        stem = next(x for x in kernels if x.kernel.shape[2] == len(order))
        kernels.remove(stem)
        found.append((order, stem.name))
    return found


def _turn_labels(
    weights: Published,
    naming: published.Naming,
    named: dict[str, NDArray[Any]],
    labels: Sequence[str],
) -> None:
    """Puts the outputs of the last layer into the order of the model's labels."""
    if weights.labels is None or set(weights.labels) != set(labels):
        theirs = (
            "other outputs than labels of BigEarthNet"
            if weights.labels is None
            else f"{len(weights.labels)} labels"
        )
        raise ValueError(
            f"{weights.path}: weights for {theirs}, but the model has "
            f"{len(labels)} labels; choose the label_type that belongs to them, or set "
            "weights_head to new"
        )
    order = [weights.labels.index(label) for label in labels]
    for variable in ("kernel", "bias"):
        name = naming(published.HEAD, variable)
        value = named.get(name)
        axis = 0 if weights.is_torch else -1
        if value is not None and value.shape[axis] == len(order):
            named[name] = np.take(value, order, axis=axis)
