"""Weights that others have published, and what they mean: architecture, bands, labels.

* reBEN's: a folder with `config.json` and `model.safetensors`, or its id on the hub;
* the TU Berlin TensorFlow models': the prefix of a TensorFlow 1 checkpoint;
* timm's: a `.safetensors` file, such as of ImageNet, for a model that is named beside.

Nothing is unpickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.numpy
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf import extras, files, models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts

# reBEN's band orders by number of channels: ConfigILM's BENv1 reader for the weights
# of v0.1.1, its BENv2 reader from v0.2.0 on.
_HUB_BANDS = {
    "0.1.1": {2: "ilm_v1_s1", 3: "rgb", 10: "ilm_v1_s2", 12: "ilm_v1_all"},
    "0.2.0": {2: "s1", 3: "rgb", 10: "s2", 12: "all", 14: "all_full"},
}
_HUB_VERSION = re.compile(r"v(\d+\.\d+\.\d+)")

# The first scope of the variables in the TF project's checkpoints; the model, its first
# kernel and the bias of its last layer.
_TF1_MODELS = {
    **{
        f"resnet_v1_{depth}": (f"resnet{depth}_slim", "conv1/weights", "logits/biases")
        for depth in (50, 101, 152)
    },
    **{
        f"vgg_{depth}": (f"vgg{depth}", "conv1/conv1_1/weights", "fc8/biases")
        for depth in (16, 19)
    },
    "CNN_10m_branch": (
        "k_branch",
        "conv_block_0/conv_layer/kernel",
        "classification/fc_layer/bias",
    ),
}
_TF1_BANDS = {2: "s1", 4: "k_branch", 10: "tf_s2", 12: "tf_mm"}
# What the optimiser keeps beside the weights.
_TF1_NO_WEIGHT = re.compile(r"/Adam(_\d+)?$|beta\d_power$|global_step$|^save_counter$")

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, eq=False)
class Published:
    """Weights and what they are for.

    Attributes:
        path: where they come from, for messages.
        model_name: a name of `list_models()`.
        bands: of the first kernel, in its order.
        labels: of the last layer, in its order; None if they are not BigEarthNet's.
        tensors: by their published names.
        form: whose names and layout they have: `timm`, `tf1`, or `own`.
        image_size: pixels a side that they were trained with, as far as is known.
        interpolation: kernel of the resampling that they were trained with.
        statistics: that their input is standardised with.
    """

    path: str
    model_name: str
    bands: tuple[str, ...]
    labels: tuple[str, ...] | None
    tensors: Mapping[str, NDArray[Any]]
    form: Literal["timm", "tf1", "own"]
    image_size: int = 120
    interpolation: str = "nearest"
    statistics: str = "v2_120_nearest"

    @property
    def is_torch(self) -> bool:
        """Whether kernels are in torch's layout."""
        return self.form == "timm"


def is_published(name: str) -> bool:
    """Tells whether a name is of published weights, not of a run of ours."""
    path = Path(name)
    return (
        not (path / "checkpoints").is_dir()
        and not (path / "description.json").is_file()
    )


def open_published(name: str, model_name: str | None = None) -> Published:
    """Reads published weights.

    Args:
        name: a folder or hub id of reBEN's family, the prefix of a TensorFlow 1
            checkpoint, or a `.safetensors` file.
        model_name: architecture of a `.safetensors` file, which does not say.

    Raises:
        FileNotFoundError: nothing there by that name.
        OSError: the hub can't be reached.
        ValueError: damaged, a pickle, or of an architecture that is not here.
    """
    path = Path(name)
    if path.is_dir():
        return _open_hub_folder(path, name)
    if Path(f"{name}.index").is_file():
        return _open_tf1(name)
    if path.is_file():
        return _open_file(path, model_name)
    if _is_hub_id(name):
        return _open_hub_folder(_fetch(name), name)
    raise FileNotFoundError(
        f"{name}: no such weights; expected a folder with config.json and "
        "model.safetensors, a hub id (BIFOLD-BigEarthNetv2-0/resnet50-s2-v0.2.0), the "
        "prefix of a TensorFlow 1 checkpoint, a .safetensors file or a run"
    )


def _open_hub_folder(path: Path, name: str) -> Published:
    """Opens a folder of reBEN's hub family."""
    config_path, weights_path = path / "config.json", path / "model.safetensors"
    for expected in (config_path, weights_path):
        if not expected.is_file():
            raise FileNotFoundError(
                f"{expected}: is missing; expected config.json and model.safetensors "
                "of reBEN's hub family in the folder, or checkpoints of a run"
            )
    content = files.read_json(config_path)
    # The hub's library stores the arguments of the model, of which one is the config.
    content = content.get("config", content)
    missing = [key for key in ("timm_model_name", "channels") if key not in content]
    if missing:
        raise ValueError(
            f"{config_path}: expected the configuration of a reBEN model, but it has "
            f"no {missing[0]!r}"
        )
    bands = _hub_bands(content, name, path)
    return Published(
        path=str(weights_path),
        model_name=models.get_model(str(content["timm_model_name"])).name,
        bands=bands,
        labels=label_facts.ORDERS["S19"] if _classes(content) == 19 else None,
        tensors=_read_safetensors(weights_path),
        form="timm",
        image_size=int(content.get("image_size", 120)),
    )


def _classes(content: Mapping[str, Any]) -> int:
    return int(content.get("classes", 19))


def _hub_bands(content: Mapping[str, Any], name: str, path: Path) -> tuple[str, ...]:
    """Returns the bands of a hub model in their order, which its version decides."""
    if "bands" in content:  # written by `serving.hub.export_timm`
        return band_facts.resolve_bands(content["bands"])
    found = _HUB_VERSION.search(os.path.basename(name.rstrip("/")))  # noqa: PTH119
    if found is None:
        raise ValueError(
            f"{path}: reBEN's weights of v0.1.1 and v0.2.0 have different band orders, "
            "and the name of the folder does not say which these are; call it as on "
            "the hub, such as resnet50-s2-v0.2.0"
        )
    version = tuple(map(int, found[1].split(".")))
    orders = _HUB_BANDS["0.1.1" if version < (0, 2, 0) else "0.2.0"]
    channels = int(content["channels"])
    if channels not in orders:
        raise ValueError(
            f"{path}: expected {', '.join(map(str, orders))} channels, got {channels}"
        )
    return band_facts.resolve_bands(orders[channels])


def _open_tf1(prefix: str) -> Published:
    """Opens a checkpoint of the TU Berlin TensorFlow models."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        names = [
            name
            for name in reader.get_variable_to_shape_map()
            if not _TF1_NO_WEIGHT.search(name)
        ]
        tensors = {name: reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{prefix}: the TensorFlow checkpoint is damaged or incomplete "
            f"({str(error).splitlines()[0][:200]}); copy it again"
        ) from error
    scopes = {name.split("/")[0] for name in names}
    scope = next((s for s in sorted(scopes) if s in _TF1_MODELS), None)
    if scope is None:
        raise ValueError(
            f"{prefix}: expected a checkpoint of {', '.join(_TF1_MODELS)}, but its "
            f"variables begin with {', '.join(sorted(scopes)[:4])}"
        )
    model_name, stem, head = _TF1_MODELS[scope]
    stem = f"{scope}/{stem}"
    head = head if "/fc_layer/" in head else f"{scope}/{head}"
    for expected in (stem, head):
        if expected not in tensors:
            raise ValueError(f"{prefix}: the checkpoint has no variable {expected}")
    order = {19: "O19", 43: "O43"}.get(len(tensors[head]))
    channels = tensors[stem].shape[2]
    if channels not in _TF1_BANDS:
        raise ValueError(
            f"{prefix}: expected weights for {', '.join(map(str, _TF1_BANDS))} bands, "
            f"got {channels}"
        )
    return Published(
        path=prefix,
        model_name=model_name,
        bands=band_facts.resolve_bands(_TF1_BANDS[channels]),
        labels=label_facts.ORDERS[order] if order else None,
        tensors=tensors,
        form="tf1",
        interpolation="tf1_bicubic",
        statistics="v1",
    )


def _open_file(path: Path, model_name: str | None) -> Published:
    """Opens a `.safetensors` file with timm's names."""
    if path.suffix in _PICKLES or _is_pickle(path):
        raise ValueError(
            f"{path}: is a pickle, which can run any program when it is read; convert "
            "it to safetensors where you trust it (safetensors.torch.save_file)"
        )
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: expected a .safetensors file, the prefix of a TensorFlow 1 "
            "checkpoint, a folder of reBEN's hub family, or a run"
        )
    if model_name is None:
        raise ValueError(
            f"{path}: does not say of which architecture it is; name the model too"
        )
    tensors = _read_safetensors(path)
    stem = next((t for t in tensors.values() if t.ndim == 4), None)
    if stem is None or stem.shape[1] != 3:
        got = "none" if stem is None else f"one of {stem.shape[1]} bands"
        raise ValueError(
            f"{path}: expected a first convolution of 3 bands, red, green, blue, got "
            f"{got}; for other bands give a folder with config.json"
        )
    return Published(
        path=str(path),
        model_name=models.get_model(model_name).name,
        bands=band_facts.resolve_bands("rgb"),
        labels=None,
        tensors=tensors,
        form="timm",
    )


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4)
    # A pickle of protocol 2 and later, or torch's zip of one.
    return start[:1] == b"\x80" or start == b"PK\x03\x04"


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    if _is_pickle(path):
        raise ValueError(
            f"{path}: is a pickle by its content, whatever its name; those can run any "
            "program, so they are not read"
        )
    try:
        return dict(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged, cut short, or no safetensors file ({error}); download "
            "it again"
        ) from error


def _is_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def _fetch(name: str) -> Path:
    """Returns the folder that a hub id is downloaded to, once."""
    hub = extras.load("huggingface_hub", extra="huggingface")
    try:
        return Path(
            hub.snapshot_download(
                name, allow_patterns=["config.json", "model.safetensors"]
            )
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise OSError(
            f"{name}: can't be fetched from the hub ({reason}); where there is a "
            f"network, run: hf download {name} --local-dir {name.split('/')[-1]}, and "
            "give that folder"
        ) from error
