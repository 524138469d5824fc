"""Arguments of reBEN's `train_BigEarthNetv2_0.py` as a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bigearthnet_tf import files, registry
from bigearthnet_tf.config.projects import reben_flags
from bigearthnet_tf.config.projects.translated import Translated

# What becomes a key of ours as it is.
_KEYS = {
    "architecture": "model_name",
    "seed": "seed",
    "lr": "learning_rate",
    "epochs": "nb_epoch",
    "bs": "batch_size",
    "drop-rate": "drop_rate",
    "drop-path-rate": "drop_path_rate",
    "warmup": "warmup_iterations",
}
_OF_BANDS = {"modality", "bands"}
_BANDS: dict[str, dict[str, str]] = {
    "all": {"modality": "MM"},
    "s2": {"modality": "S2"},
    "s1": {"modality": "S1"},
    "s1_full": {"modality": "S1"},
    "all_full": {"modality": "MM", "bands": "all_full"},
    "s2_full": {"modality": "S2", "bands": "s2_full"},
    "rgb": {"modality": "S2", "bands": "rgb"},
    "s2_no_rgb": {"modality": "S2", "bands": "s2_no_rgb"},
    "all_no_rgb": {"modality": "MM", "bands": "all_no_rgb"},
}
# What the script fixes, by its model cards and its code; configs/reben/base.json has
# the same. The intervals of checkpoints and the places of records are ours.
_FIXED: dict[str, Any] = {
    "label_type": "BigEarthNet-19",
    "interpolation": "nearest",
    "statistics": "v2_120_nearest",
    "learning_rate_schedule": "warmup_cosine",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "augmentation": ["flips"],
    "early_stopping_patience": 5,
}
_PLACES: dict[str, Any] = {
    "tr_tf_record_files": ["records/train-*.tfrecord"],
    "val_tf_record_files": ["records/val-*.tfrecord"],
    "test_tf_record_files": ["records/test-*.tfrecord"],
    "save_checkpoint_per_iteration": 500,
}
# Hidden layers of the fork's head of type `mlp`, unless it is told others.
_HEAD_DIMS = "1024,512"
_OF_DINOV3 = ("linear-probe", "head-type", "head-mlp-dims", "head-dropout")


def translate(arguments: Sequence[str], overrides: Mapping[str, Any]) -> Translated:
    """Returns the config that the arguments stand for.

    Args:
        arguments: as on the command line of that script.
        overrides: keys and values of `--set`.

    Raises:
        ValueError: an unknown argument or an impossible value.
    """
    given = reben_flags.parse(arguments)
    values = reben_flags.DEFAULTS | given
    _check(values, overrides)
    keys = {key: values[name] for name, key in _KEYS.items()} | _FIXED | _PLACES
    keys |= _BANDS[values["bandconfig"]]
    if values["use-wandb"]:
        keys["wandb_project"] = "BENv2"
    parts = [values[name] for name in ("architecture", "seed", "bandconfig")]
    parts += filter(None, [_name("--run-name", values["run-name"])])
    keys["out_dir"] = f"runs/reben/{'-'.join(map(str, parts))}"
    notes = []
    if values["bandconfig"] == "s2_full":
        notes.append(
            "bands s2_full: the 12 of Sentinel-2, as documented, where the script took "
            "VV, VH and 10 of Sentinel-2 (--bandconfig all)"
        )
    for adapt in (_adapt_network, _adapt_devices):
        other, note = adapt(values)
        keys |= other
        notes += note
    assumed = [*_defaults(given, overrides), *_fixed(keys, overrides), *notes]
    return Translated(keys, assumed, _left_out(values, given))


def _name(flag: str, text: str | None) -> str | None:
    """Returns a name that becomes a part of a folder's."""
    if text is not None and set(text) & {"/", "\\", "\0"}:
        raise ValueError(f"{flag}: expected a name, got the path {files.echo(text)}")
    return text


def _adapt_network(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns keys that follow from the architecture, and a phrase on each."""
    if values["architecture"].startswith("convmixer"):
        return {"drop_path_rate": 0.0}, [
            "drop_path_rate 0: ConvMixer took no notice of it there either"
        ]
    if not _is_dinov3(values):
        return {}, []
    keys: dict[str, Any] = {"drop_path_rate": 0.0}
    if values["head-dropout"] is not None:
        keys["drop_rate"] = values["head-dropout"]
    if values["head-type"] == "mlp":
        keys["head_dims"] = _dims(values["head-mlp-dims"] or _HEAD_DIMS)
    return keys, ["drop_path_rate 0 and no LayerNorm before the head of DINOv3"]


def _dims(text: str) -> list[int]:
    try:
        dims = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        dims = []
    if not dims:
        raise ValueError(
            "--head-mlp-dims: expected whole numbers with commas between, got "
            f"{files.echo(text)}"
        )
    return dims


def _adapt_devices(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns keys that follow from the number of GPUs, and a phrase on them.

    Lightning's processes each have a batch of their own, and BatchNorm of it.
    """
    devices = values["devices"]
    if devices is None:
        return {}, []
    size = values["bs"] * devices
    keys = {
        "devices": f"gpu:{','.join(map(str, range(devices)))}",
        "batch_size": size,
        "synchronize_batch_norm": False,
    }
    return keys, [f"batch_size {size} on {devices} GPUs together, --bs for each"]


def _check(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Raises ValueError for values that have no meaning here."""
    band_set = values["bandconfig"]
    if band_set not in _BANDS:
        raise ValueError(
            f"--bandconfig: unknown {files.echo(band_set)}: "
            f"{registry.nearest_names(str(band_set), _BANDS)}"
        )
    warmup = values["warmup"]
    if warmup < 1 and warmup != -1:
        raise ValueError(
            "--warmup: expected iterations above 0, or -1 (10,000, 100 or none, by the "
            f"length of the run), got {warmup}"
        )
    devices = values["devices"]
    if devices is not None and not 1 <= devices <= 99:
        raise ValueError(f"--devices: expected a number of GPUs, got {devices}")
    head = values["head-type"]
    if head not in ("linear", "mlp"):
        raise ValueError(f"--head-type: expected linear or mlp, got {files.echo(head)}")
    if _is_dinov3(values) and "model_name" not in overrides:
        raise ValueError(
            f"--architecture {values['architecture']}: which DINOv3 is meant? The "
            "script took small for base. Its pretrained weights can't be read here; to "
            "train from random ones give --set model_name=keras_hub/dinov3_small (or "
            "_base) and --set image_size=112"
        )


def _is_dinov3(values: Mapping[str, Any]) -> bool:
    return bool(
        values["architecture"].startswith("dinov3") or values["dinov3-model-name"]
    )


def _defaults(given: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Returns the defaults of the script that are taken, a phrase each."""
    keys = {**{name: {key} for name, key in _KEYS.items()}, "bandconfig": _OF_BANDS}
    taken = [
        f"--{name} {reben_flags.DEFAULTS[name]}"
        for name, own in keys.items()
        if name not in given and not own & set(overrides)
    ]
    if not taken:
        return []
    return [f"{' '.join(taken)} as in version 0.2.0 (earlier ones had others)"]


def _fixed(keys: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """Returns the keys that no argument is for, but those of `--set`, a phrase each."""
    phrases = {key: f"{key} {keys[key]}" for key in (*_FIXED, "out_dir")}
    phrases["augmentation"] = "augmentation flips"
    phrases["tr_tf_record_files"] = "records in records (prep_splits.py -o records)"
    return [phrase for key, phrase in phrases.items() if key not in overrides]


def _left_out(values: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Returns the arguments that are not carried over, each with what to do."""
    said = []
    if values["test-run"]:
        said.append(
            "--test-run (on there without --no-test-run): this is the whole run; for a "
            "trial give --test-run to train.py"
        )
    if values["upload-to-hub"]:
        repository = "{}/{}-{}-v0.2.0".format(
            values["hf-entity"] or "ORG", values["architecture"], values["bandconfig"]
        )
        said.append(
            "--upload-to-hub: after eval.py run bigearthnet-tf publish RUN --repo-id "
            f"{repository} --data TEXT"
        )
    advice = {
        "workers": "TensorFlow reads on all cores",
        "resume-from": "a run continues by itself from its newest checkpoint; .ckpt "
        "files of Lightning are pickles, which are not read",
        "config-path": "the folder that it names: prep_splits.py --lmdb "
        "FOLDER/BENv2.lmdb --metadata FOLDER/metadata.parquet -o records",
        "strategy": "GPUs of one machine always work together; see cluster for several",
    }
    if not values["upload-to-hub"]:
        advice["hf-entity"] = "bigearthnet-tf publish has --repo-id"
    if _is_dinov3(values):
        advice["dinov3-model-name"] = "the network starts from random weights"
        advice["linear-probe"] = "with weights, --set fine_tune_level=0"
    else:
        advice |= dict.fromkeys(_OF_DINOV3, "for DINOv3; see head_dims, drop_rate")
    return said + [
        f"--{name}: {text}" for name, text in advice.items() if name in given
    ]
