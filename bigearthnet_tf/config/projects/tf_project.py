"""Configs of the TF project: flat JSON over its own `base.json`.

Its keys have the same names here, so a config of it loads as it stands. What it fixed
in its code is set beside them where the default here is another one.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.config.projects.translated import Translated

_RECORDS = ("tr_tf_record_files", "val_tf_record_files", "test_tf_record_files")
# Every key of `configs/base.json` in its version of 2019; all are read there.
_BASE = frozenset(
    {
        "model_name",
        "label_type",
        "batch_size",
        "nb_epoch",
        "learning_rate",
        "save_checkpoint_after_iteration",
        "save_checkpoint_per_iteration",
        *_RECORDS,
        "fine_tune",
        "model_file",
        "shuffle_buffer_size",
        "training_size",
        "test_size",
    }
)
# `modality` came with version 1.1; `out_dir` stands in the config of each model.
# `modules` is ours, and changes nothing but which models there are.
_KEYS = _BASE | {"modality", "out_dir", "modules"}
_MODELS = ("K-BranchCNN", "ResNet50", "ResNet101", "ResNet152", "VGG16", "VGG19")
# TensorFlow 1's bicubic kernel behind a standardisation with means and standard
# deviations of v1; every checkpoint is kept.
_FIXED = {"interpolation": "tf1_bicubic", "statistics": "v1", "keep_checkpoints": 0}
# Red before green and blue, radar last.
_BAND_SETS = {"S2": "tf_s2", "MM": "tf_mm", "S1": "s1"}
# Keys of the EfficientBigEarthNet fork, and what does the same here.
_FORK = {
    "hparams": "`model_name` names an architecture with its size",
    "backward_passes": "`gradient_accumulation` splits a batch; it took so many batches"
    " a step with more than two workers",
    "mode": "train.py and eval.py are two programs",
    "eval_checkpoint": "eval.py --checkpoint PATH",
    "augment": "`augmentation` names the changes",
    "decay_step": "it counted epochs; with `learning_rate_schedule` `step` it counts"
    " iterations",
    "decay_rate": "goes with `learning_rate_schedule` `step`",
}
# Those of them that are of no other project.
_FORK_ALONE = frozenset(_FORK) - {"decay_step", "decay_rate"}


def is_config(content: Mapping[str, Any]) -> bool:
    """Returns whether keys are those of the TF project and name one of its configs."""
    is_known = set(content) <= _KEYS
    return is_known and (set(content) >= _BASE or content.get("model_name") in _MODELS)


def translate(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> Translated:
    """Returns the keys of a config with what the TF project means by them.

    A config is of that project if it has none but its keys, and either names one of
    its six models or has every key of its `base.json`. Any other is returned as it is.

    Args:
        content: keys of the file over those of the `base.json` beside it.
        overrides: keys and values of `--set`; they decide nothing about whose config
            it is.
    """
    if _FORK_ALONE & set(content) and set(content) >= _BASE - {"model_file"}:
        return _of_the_fork(content)
    others = [key for key in content if key not in _KEYS]
    is_whole = set(content) >= _BASE
    if others:
        return Translated(dict(content), _told_apart(content, others, is_whole))
    if not is_config(content):
        return Translated(dict(content))
    fixed = _fixed({**content, **overrides}) | find_paths(content)
    added = {key: value for key, value in fixed.items() if key not in overrides}
    said = [f'"{key}": {json.dumps(value)}' for key, value in added.items()]
    why = (
        "as in the TF project, whose keys these are; a file with any other key, such "
        'as "seed": 42, is taken as it stands'
    )
    return Translated(dict(content) | added, assumed=[*said, why])


def _told_apart(
    content: Mapping[str, Any], others: list[str], is_whole: bool
) -> list[str]:
    """Returns what to say of a config of that project with a key of this one added.

    It matters where the file leaves open what is not the same in both.
    """
    if not is_whole or set(_FIXED) & set(content):
        return []
    note = (
        f"the defaults of this project for {', '.join(_FIXED)} and bands, because "
        f"{others[0]} is no key of the TF project; set them as you mean them"
    )
    return [note]


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what that project has in its code.

    The rest (Adam, a constant rate, sigmoid cross-entropy without L2, seed 42, no
    augmentation) is the default here too.
    """
    bands = _BAND_SETS.get(str(config.get("modality", "S2")))
    # K-BranchCNN has bands of its own.
    own = re.match("k[-_]branch", str(config.get("model_name", "")), re.IGNORECASE)
    return dict(_FIXED) if own or bands is None else {**_FIXED, "bands": bands}


def find_paths(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns paths in place of those of what that project would have written.

    Args:
        content: keys of a config, or of `--set`.
    """
    given = {key: content[key] for key in _RECORDS if _are_paths(content.get(key))}
    paths = {key: [_shards(path) for path in named] for key, named in given.items()}
    training = paths.get("tr_tf_record_files", [])
    if not all(map(_is_absent, training)) and "val_tf_record_files" in paths:
        validation = paths["val_tf_record_files"]
        # They are never read there, so they need not exist.
        paths["val_tf_record_files"] = (
            [] if all(map(_is_absent, validation)) else validation
        )
    found: dict[str, Any] = {
        key: new for key, new in paths.items() if new != given[key]
    }
    snapshot = _snapshot(content.get("model_file"))
    return found if snapshot is None else {**found, "model_file": snapshot}


def _are_paths(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(path, str) for path in value)


def _shards(path: str) -> str:
    """Returns the pattern of the shards that `prep_splits.py` writes for a split.

    There it was one file, `<split>.tfrecord`, which is taken where it exists.
    """
    stem = path.removesuffix(".tfrecord")
    local = Path(files.expand(stem))
    shards = local.parent.glob(f"{glob.escape(local.name)}-*.tfrecord")
    return f"{stem}-*.tfrecord" if _is_absent(path) and any(shards) else path


def _is_absent(path: str) -> bool:
    """Tells whether a path is neither a file, nor remote, nor a pattern."""
    is_plain = not any(mark in path for mark in ("://", "*", "?", "["))
    return is_plain and not Path(files.expand(path)).is_file()


def _snapshot(model_file: Any) -> str | None:
    """Returns the checkpoint here for a snapshot `OUT_DIR/models/iteration-N`.

    There that is the prefix of a TensorFlow 1 checkpoint, which is taken where it
    exists.
    """
    if not isinstance(model_file, str):
        return None
    path = Path(files.expand(model_file))
    if path.parent.name != "models" or Path(f"{path}.index").is_file():
        return None
    here = path.parents[1] / "checkpoints" / path.name
    return str(here) if (here / "description.json").is_file() else None


def _of_the_fork(content: Mapping[str, Any]) -> Translated:
    kept = {key: value for key, value in content.items() if key not in _FORK}
    left_out = [f"{key} ({_FORK[key]})" for key in content if key in _FORK]
    return Translated(kept, left_out=left_out)
