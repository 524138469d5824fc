"""Configs of the CBIR project (multi-modal retrieval by content), YAML or JSON.

Its `train.py` took `args.yaml` and left a copy in the folder of the run,
`parameters.yaml`, which its retrieval began with. Both mean the same here.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bigearthnet_tf import files, registry
from bigearthnet_tf.config.keys import Config
from bigearthnet_tf.config.projects.translated import Translated

Keys = dict[str, Any]

# Folder that its data are converted into, by the command that the user is told.
RECORDS = "records"
_DEFAULT = "TFRecord_files"
# Numbers of hits at which it printed mAP; its ranking ended after the last of them.
PRINTED_AT = (8, 16, 32, 64, 128, 1000)

_LISTS = ("train_csv", "val_csv", "test_csv")
_LMDBS = ("bigEarthPthLMDB_S2", "bigEarthPthLMDB_S1")
# Keys of `args_bands_12.yaml`, which nothing read. An exponential decay of the rate had
# the first of them for a while.
_OF_12_BANDS = ("scheduler_gamma", "epoch_num", "reload", "summaries", "suffix")
# A file with any of these is one of that project.
_MARKS = {"type", "loss_func", *_LISTS, *_LMDBS}
# Settings that have another name here; an override may use either.
_RENAMED = {"type": "encoders", "loss_func": "task", "epochs": "nb_epoch"}
# Optimizers that it did not have: their weight decay is not added to the gradients.
_DECOUPLED = ("adamw", "lamb")
# What its code fixed: the words for it, and the keys.
_FIXED: tuple[tuple[str, Keys], ...] = (
    ("ResNet-50", {"model_name": "resnet50"}),
    ("both polarisations and the bands of 10 and 20 m", {"modality": "MM"}),
    ("19 labels", {"label_type": "BigEarthNet-19"}),
    ("bicubic upsampling", {"interpolation": "bicubic"}),
    ("band statistics of v1", {"statistics": "v1"}),
)
_FIXED_FOR_PAIRS: tuple[tuple[str, Keys], ...] = (
    ("ReLU after the projections", {"projection_activation": "relu"}),
    ("queries from the training split", {"query_split": "train"}),
    ("search in the test split", {"archive_split": "test"}),
    ("by the projections", {"retrieval_layer": "p"}),
    ("by chi-square distance", {"retrieval_metric": "chi_square"}),
    ("metrics of the CBIR project", {"retrieval_definitions": "cbir"}),
    ("at the numbers of hits that it printed", {"retrieval_k": list(PRINTED_AT)}),
)


def is_config(content: Mapping[str, Any]) -> bool:
    """Returns whether keys and values of a file are those of the CBIR project."""
    ours = {*content} & {*Config.model_fields}
    theirs = {*content} & _KNOWN
    return bool(theirs & _MARKS) and len(theirs - ours) >= len(ours - theirs)


def check_is_known(content: Mapping[str, Any], where: str) -> None:
    """Refuses keys and values of a YAML file that is of another project.

    Raises:
        ValueError: most keys are known neither to the CBIR project nor here.
    """
    unknown = [key for key in content if key not in {*_KNOWN, *Config.model_fields}]
    if len(unknown) > 1 and 2 * len(unknown) > len(content):
        raise ValueError(
            f"{where}: expected keys of a config (configs/README.md lists them), or "
            "args.yaml or parameters.yaml of the CBIR project, with type, loss_func "
            f"and fusion; got {', '.join(files.echo(key) for key in unknown[:5])}, as "
            "if it were the file of another project"
        )


def translate(
    content: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> Translated:
    """Returns the config that a file of the CBIR project stands for.

    Args:
        content: keys and values of the file.
        overrides: of `--set`, by that project's names or ours. They replace what the
            file says before anything is checked. `weight_decay` is that project's, L2
            on all parameters, unless the optimizer is `adamw` or `lamb`.
        where: the file, for the message.

    Returns:
        Keys with the overrides among them.

    Raises:
        ValueError: unknown keys and impossible values, all in one line.
    """
    # Of optimizers there are more here.
    theirs = {k: v for k, v in overrides.items() if k in _KNOWN - {"optimizer"}}
    ours = {k: v for k, v in overrides.items() if k not in theirs}
    found = {**content, **theirs}
    settings, faults = _read(found, ours)
    faults += [
        f"--set has {name} and {own}, which are the same: give one of them"
        for name, own in _RENAMED.items()
        if name in theirs and own in ours
    ]
    faults += _check(found, settings, ours)
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")
    is_pair = ours.get("encoders") != "single"
    fixed = [*_FIXED, *_find_records(found)]
    fixed += _FIXED_FOR_PAIRS if is_pair else ()
    if ours.get("task", settings.get("loss_func")) == "classification":
        # In a contrastive run it decides anyway.
        loss = f"{ours.get('loss', Config.model_fields['loss'].default)}_loss"
        fixed.append(("best checkpoint by validation loss", {"monitor": loss}))
    assumed = [
        f"{phrase} ({', '.join(keys)})"
        for phrase, keys in fixed
        if not {*keys} & {*ours}
    ]
    keys: Keys = {key: value for _, pair in fixed for key, value in pair.items()}
    keys |= _carry(settings, ours, is_pair) | ours
    return Translated(keys, assumed, _left_out(found, settings, ours, is_pair))


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(_expected(" or ".join(choices), value))
        return str(value)

    return read


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(_expected(f"a whole number from {least}", value))
        return value

    return read


def _number(least: float, excluded: bool = False) -> Callable[[Any], float]:
    """Returns a reader of numbers; YAML 1.1 takes `1e-4` for a text."""
    bound = f"a number {'above' if excluded else 'from'} {least:g}"

    def read(value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if (
            not math.isfinite(number)
            or number < least
            or (excluded and number == least)
        ):
            raise ValueError(_expected(bound, value))
        return number

    return read


def _truth(value: Any) -> bool:
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False}
    found |= {"0": False, "": False, "none": False}
    if str(value).lower() not in found:
        raise ValueError(_expected("True or False", value))
    return found[str(value).lower()]


def _name(value: Any) -> str:
    if isinstance(value, str) and value.strip("/"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError(_expected("a name", value))


def _folder(value: Any) -> tuple[str, str]:
    """Returns `save_dir` and `name` of `logging_params`."""
    if not isinstance(value or {}, dict):
        raise ValueError(_expected("save_dir and name below it", value))
    found = {"save_dir": "logs", "name": "run", **(value or {})}
    try:
        return _name(found["save_dir"]), _name(found["name"])
    except ValueError as error:
        raise ValueError(f"of save_dir and name {error}") from None


def _expected(what: str, value: Any) -> str:
    return f"expected {what}, got {files.echo(value)}"


# Settings that are carried over: the default (None: none) and what reads the value.
_READERS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "type": (None, _one_of("separate", "joint")),
    "loss_func": (None, _one_of("classification", "contrastive")),
    "fusion": (None, _one_of("concat", "avg", "max", "sum")),
    "batch_size": (256, _whole(1)),
    "epochs": (30, _whole(1)),
    "start_epoch": (0, _whole(0)),
    "n_features": (2048, _whole(1)),
    "projection_dim": (128, _whole(1)),
    "out_channels": (32, _whole(1)),
    "optimizer": ("adam", _one_of("adam", "sgd")),
    "learning_rate": (1e-4, _number(0, excluded=True)),
    "weight_decay": (0.0, _number(0)),
    "scheduler": (False, _truth),
    "temperature": (0.1, _number(0)),
    "name": ("test", _name),
    "logging_params": ({}, _folder),
}
_KNOWN = {
    *_READERS,
    *_LISTS,
    *_LMDBS,
    *_OF_12_BANDS,
    "pretrain",
    "num_cpu",
    "state_dict",
}


def _read(found: Keys, ours: Keys) -> tuple[Keys, list[str]]:
    """Returns the settings that no override of ours replaces, and what is wrong."""
    replaced = {theirs for theirs, own in _RENAMED.items() if own in ours} | {*ours}
    if ours.get("encoders") == "single":
        replaced |= {"fusion", "projection_dim", "out_channels"}
    settings: Keys = {}
    faults = []
    for key, (default, reader) in _READERS.items():
        if key in replaced:
            continue
        try:
            settings[key] = reader(found.get(key, default))
        except ValueError as error:
            missing = default is None and not found.get(key)
            faults.append(f"{key}{' is missing' if missing else ''}: {error}")
    faults += [
        f"unknown key {files.echo(key)}: {registry.nearest_names(key, sorted(_KNOWN))}"
        for key in found
        if key not in _KNOWN
    ]
    return settings, faults


def _check(found: Keys, settings: Keys, ours: Keys) -> list[str]:
    """Returns what is wrong with settings together."""
    faults = []
    task = ours.get("task", settings.get("loss_func"))
    if task == "contrastive" and settings.get("temperature") == 0:
        faults.append(
            "temperature: expected a number above 0, got 0 (--set temperature=0.1 is "
            "that project's)"
        )
    features = settings.get("n_features", 2048)
    if features != 2048 and "model_name" not in ours:
        faults.append(f"n_features: a ResNet-50 has 2048, got {features}")
    of_12_bands = [key for key in _OF_12_BANDS if key in found]
    if of_12_bands and "encoders" not in ours:
        faults.append(
            f"{', '.join(of_12_bands)}: args_bands_12.yaml has such keys: choose its "
            "one network of 12 bands by --set encoders=single (with --set "
            "loss_func=classification), or the two of args.yaml by --set "
            "encoders=separate (or joint)"
        )
    return faults


def _carry(settings: Keys, ours: Keys, is_pair: bool) -> Keys:
    """Returns the keys that stand for the settings."""
    same = ["batch_size", "learning_rate", "optimizer"]
    same += ["fusion", "projection_dim", "out_channels"] if is_pair else []
    keys = {key: settings[key] for key in same if key in settings}
    keys |= {own: settings[key] for key, own in _RENAMED.items() if key in settings}
    keys["learning_rate_schedule"] = (
        "one_cycle" if settings["scheduler"] else "constant"
    )
    # Torch's OneCycleLR moves the momentum of any SGD around this.
    keys["momentum"] = 0.9 if settings["scheduler"] else 0.0
    if settings.get("temperature"):
        keys["temperature"] = settings["temperature"]
    decay = settings["weight_decay"]
    if ours.get("optimizer") in _DECOUPLED:
        keys["weight_decay"] = decay
    elif decay:
        # Torch adds it to the gradients of all parameters: the gradient of this.
        keys |= {"l2": decay, "l2_on": "all"}
    save_dir, name = settings["logging_params"]
    group = settings["name"].strip("/")
    keys["out_dir"] = "/".join((save_dir.rstrip("/"), group, name.strip("/")))
    return keys


def _find_records(found: Keys) -> list[tuple[str, Keys]]:
    """Returns the records that the conversion of the lists of patches writes."""
    own, default = (any(Path(name).glob("*.tfrecord")) for name in (RECORDS, _DEFAULT))
    lists = [found.get(key) or key.replace("_", ".") for key in _LISTS]
    names = [Path(str(path)).name.split(".")[0] for path in lists]
    # Lists of one name can't be converted together.
    if (default and not own) or len({*names}) < len(names):
        return []
    splits = zip(("tr", "val", "test"), names, strict=True)
    keys = {
        f"{split}_tf_record_files": [f"{RECORDS}/{name}-*.tfrecord"]
        for split, name in splits
    }
    return [(f"data in {RECORDS}/", keys)]


def _left_out(found: Keys, settings: Keys, ours: Keys, is_pair: bool) -> list[str]:
    """Returns what is not carried over, each with what to do instead."""
    said = []
    if found.get("state_dict"):
        said.append(
            f"state_dict {files.echo(found['state_dict'])} (torch checkpoints of that "
            "project are not read: train anew; eval.py takes the run's own checkpoint)"
        )
    if settings["start_epoch"]:
        said.append(
            f"start_epoch {settings['start_epoch']} (it loaded nothing there; a run "
            "that was stopped goes on by itself)"
        )
    if settings["scheduler"]:
        said.append(
            "scheduler's cycling of momentum or beta_1 between 0.85 and 0.95 (0.9 here)"
        )
    if not is_pair:
        said.append("type, fusion, projection_dim, out_channels (a single network)")
    without = [k for k in ("pretrain", *_OF_12_BANDS) if k in found]
    if without:
        said.append(f"{', '.join(without)} (without effect there)")
    if "num_cpu" in found:
        said.append("num_cpu (search takes all cores)")
    data = [key for key in (*_LISTS, *_LMDBS) if found.get(key)]
    if data and "test_tf_record_files" not in ours:
        said.append(f"{', '.join(data)} (data are records here, {_conversion(found)})")
    return said


def _conversion(found: Keys) -> str:
    """Returns where records are, or the command that makes them."""
    if any(Path(RECORDS).glob("*.tfrecord")):
        return f"those in {RECORDS}/"
    lmdbs = [shlex.quote(str(found.get(key) or "LMDB")) for key in _LMDBS]
    lists = [str(found.get(key) or key.replace("_", ".")) for key in _LISTS]
    return (
        f"made once by: python prep_splits.py --lmdb {' '.join(lmdbs)} "
        f"-n {' '.join(map(shlex.quote, lists))} -o {RECORDS}"
    )
