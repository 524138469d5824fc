"""Models with their weights, from anywhere, and ours in the form of reBEN's hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import safetensors.numpy

from bigearthnet_tf import files, models, outputs
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.config import Config
from bigearthnet_tf.models import published
from bigearthnet_tf.tasks import assembly, hub_folder, pretrained, weight_files
from bigearthnet_tf.tasks.pretrained import OtherBands
from bigearthnet_tf.tasks.weight_files import Published
from bigearthnet_tf.training import initial_weights

# Where a classifier of reBEN has the network of timm.
HUB_PREFIX = "model.vision_encoder."
# Band orders that the reBEN tools expect (from v0.2.0 on).
_HUB_SETS = ("s1", "s2", "all", "all_full", "rgb")
# What runs of ours learn that is a model on patches.
_TASKS = ("classification", "contrastive")


@dataclass(frozen=True, eq=False)
class Finished:
    """A model with its weights.

    Attributes:
        model: from band groups to logits in the order of `labels`.
        weights: that it has, and what they mean.
        labels: in CLC order.
    """

    model: keras.Model
    weights: Published
    labels: tuple[str, ...]


def from_pretrained(
    name: str | Path,
    model_name: str | None = None,
    *,
    num_labels: int | None = None,
    bands: str | Sequence[str] | None = None,
    other_bands: OtherBands = "refuse",
    **options: Any,
) -> keras.Model:
    """Returns a model with weights that are published somewhere, or of a run of ours.

    Args:
        name: the folder or hub id of a reBEN model or of one of ours, the prefix of a
            checkpoint of the TU Berlin TensorFlow models, a `.safetensors` file of
            timm, or the folder of a run or checkpoint.
        model_name: architecture of a `.safetensors` file, which does not say; anything
            else must be of it.
        num_labels: of a new head, with `head_dims` of the options; None keeps the
            published one.
        bands: that the model sees, in its order; None for those of the weights.
        other_bands: how bands begin that the weights do not know: `mean` of the
            others, `zero`, or not at all.
        **options: of `assembly.build_model`, in place of what is known of the weights.

    Returns:
        A model from band groups as stored to logits, as `build_model` makes it. Its
        labels are in CLC order, whatever the order of the weights is. A contrastive
        one gives `h_s1`, `h_s2`, `p_s1` and `p_s2`. Two encoders are taken as they
        are: bands, labels and options can't be changed.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: damaged, a pickle, or weights for something else.
    """
    return _build(_open(str(name), model_name), num_labels, bands, other_bands, options)


def _build(
    weights: Published,
    num_labels: int | None = None,
    bands: str | Sequence[str] | None = None,
    other_bands: OtherBands = "refuse",
    options: Mapping[str, Any] = MappingProxyType({}),
) -> keras.Model:
    labels = _labels_of(weights, num_labels)
    if weights.config is not None and weights.config.encoders != "single":
        if num_labels is not None or bands is not None or options:
            raise ValueError(
                f"{weights.path}: two encoders are taken as they are; leave out "
                "num_labels, bands and options"
            )
        return _as_it_is(weights, weights.config, labels)
    known = {
        "image_size": weights.image_size,
        "interpolation": weights.interpolation,
        "statistics": weights.statistics,
        "head_dims": weights.head_dims if num_labels is None else (),
    }
    known = {key: value for key, value in known.items() if value is not None}
    model = assembly.build_model(
        weights.model_name,
        len(labels) if num_labels is None else num_labels,
        weights.bands if bands is None else bands,
        **{**known, **options},
    )
    pretrained.load_into(
        model,
        weights,
        labels,
        other_bands=other_bands,
        new_head=num_labels is not None,
    )
    return model


def open_finished(name: str | Path) -> Finished:
    """Opens a classifier as it was trained.

    Args:
        name: as for `from_pretrained`.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: as for `from_pretrained`; or it gives features, not labels.
    """
    weights = _open(str(name), None)
    if weights.config is not None and weights.config.task != "classification":
        raise ValueError(
            f"{weights.path}: is of task {weights.config.task!r}, which gives features "
            "and no scores of labels; bigearthnet-tf embed writes those"
        )
    return Finished(_build(weights), weights, _labels_of(weights, None))


def _as_it_is(weights: Published, config: Config, labels: Sequence[str]) -> keras.Model:
    model = assembly.build_configured(
        config,
        weights.model_name,
        len(labels),
        weights.bands,
        weights.statistics or "v2_120_nearest",
    )
    pretrained.load_into(model, weights, labels)
    return model


def export_timm(
    name: str | Path, out_dir: Path | str, prefix: str = HUB_PREFIX
) -> Path:
    """Writes weights as `config.json` and `model.safetensors`, as reBEN's hub has them.

    Bands are put into the order of the reBEN tools where they have that set of bands,
    the 19 labels into theirs, sorted by name.

    Args:
        name: whatever `from_pretrained` takes.
        out_dir: folder to write; it is made, or overwritten where it holds an earlier
            export and nothing else.
        prefix: of the names of all tensors. The tools of reBEN expect the default,
            timm itself (`checkpoint_path` of `timm.create_model`) an empty one.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: nothing there by that name.
        ValueError: no architecture of timm's, damaged weights, or a folder that holds
            something else.
        OSError: the folder can't be written to.
    """
    out_dir = Path(out_dir)
    outputs.check_folder(out_dir, [name])
    _check_free(out_dir)
    weights = _open(str(name), None)
    naming = _timm_naming(weights)
    bands = next(
        (
            band_facts.resolve_bands(known)
            for known in _HUB_SETS
            if set(band_facts.resolve_bands(known)) == set(weights.bands)
        ),
        weights.bands,
    )
    labels = _labels_of(weights, None)
    if set(labels) == set(label_facts.ORDERS["S19"]):
        labels = label_facts.ORDERS["S19"]
    model = assembly.build_model(
        weights.model_name, len(labels), bands, image_size=weights.image_size
    )
    pretrained.load_into(model, weights, labels)
    tensors = {
        prefix + key: value
        for key, value in published.dump(model, naming, torch=True).items()
    }
    config = {
        "timm_model_name": weights.model_name,
        "channels": len(bands),
        "classes": len(labels),
        "image_size": weights.image_size,
        # Beyond what the reBEN tools store: they go by the number of channels.
        "bands": list(bands),
        "class_names": list(labels),
        "statistics": weights.statistics,
        "interpolation": weights.interpolation,
    }
    if weights.config is not None and weights.config.generated:
        config["generated"] = True
    contents = {
        out_dir / "config.json": f"{json.dumps(config, indent=2)}\n".encode(),
        # Not by `save_file`, whose files none but their owner can read.
        out_dir / "model.safetensors": safetensors.numpy.save(tensors),
    }
    files.write_together(contents)
    return out_dir


def has_timm_form(name: str | Path) -> bool:
    """Tells whether weights have names in timm, as `export_timm` needs them.

    Args:
        name: as for `from_pretrained`.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: damaged weights.
    """
    weights = _open(str(name), None)
    try:
        _timm_naming(weights)
    except ValueError:
        return False
    return True


def _timm_naming(weights: Published) -> published.Naming:
    """Returns the names of weights in timm, or raises ValueError."""
    naming = models.get_model(weights.model_name).timm
    reason = None
    if naming is None:
        reason = f"{weights.model_name!r} is no model of timm"
    elif weights.config is not None and weights.config.encoders != "single":
        reason = "has two encoders, for which timm has no names"
    elif any(name.startswith(published.HEAD_HIDDEN) for name in weights.tensors):
        reason = "has hidden layers before the last one, which timm has not"
    if naming is None or reason is not None:
        raise ValueError(
            f"{weights.path}: {reason}; choose --format keras, savedmodel, onnx or "
            "litert"
        )
    return naming


def _check_free(folder: Path) -> None:
    """Refuses to overwrite anything but an earlier export."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "checkpoints" in present:
        raise ValueError(f"{folder}: is the folder of a run; choose another one")
    if present - {"config.json", "model.safetensors"} or (
        present and not _is_export(folder / "config.json")
    ):
        raise ValueError(
            f"{folder}: is not empty and holds no earlier export; choose another folder"
        )


def _is_export(path: Path) -> bool:
    try:
        return hub_folder.read(path).bands is not None
    except (OSError, ValueError):
        return False


def _open(name: str, model_name: str | None) -> Published:
    if weight_files.is_published(name):
        weights = weight_files.open_published(name, model_name)
    else:
        task = initial_weights.task_of(name)
        if task not in _TASKS:
            raise ValueError(
                f"{name}: is a run of task {task!r}; expected one of "
                f"{', '.join(_TASKS)}"
            )
        weights = initial_weights.read_run(name)
    if model_name and models.get_model(model_name).name != weights.model_name:
        raise ValueError(
            f"{weights.path}: weights of {weights.model_name!r}, not of {model_name!r}"
        )
    return weights


def _labels_of(weights: Published, num_labels: int | None) -> tuple[str, ...]:
    """Returns the labels of the model's outputs, in CLC order."""
    if num_labels is not None:
        return ()
    if weights.labels is None:
        raise ValueError(
            f"{weights.path}: its outputs are no labels of BigEarthNet; give "
            "num_labels, for a new last layer"
        )
    ordered = (label_facts.LABELS["BigEarthNet-19"], label_facts.LABELS["original"])
    return next((o for o in ordered if set(o) == set(weights.labels)), weights.labels)
