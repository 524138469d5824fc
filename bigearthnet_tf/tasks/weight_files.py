"""Weights that others have published, and what they mean: architecture, bands, labels.

* reBEN's: a folder with `config.json` and `model.safetensors`, or its id on the hub;
* the TU Berlin TensorFlow models': the prefix of a TensorFlow 1 checkpoint;
* timm's: a `.safetensors` file, such as of ImageNet, for a model that is named beside.

Nothing is unpickled.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.numpy
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf import config as configs
from bigearthnet_tf import extras, files, models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.config import Config
from bigearthnet_tf.tasks import hub_folder

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
_PICKLE_ADVICE = (
    "reading one can run any program, so it is not read; convert it to safetensors "
    "where you trust it (safetensors.torch.save_file)"
)


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
        image_size: pixels a side that they were trained with; None: not known.
        interpolation: kernel of the resampling that they were trained with, likewise.
        statistics: that their input is standardised with, by name or value, likewise.
        head_dims: units of the hidden layers before the last one.
        config: that they were trained with, where they are our own.
        iteration: at which they were saved, likewise.
    """

    path: str
    model_name: str
    bands: tuple[str, ...]
    labels: tuple[str, ...] | None
    tensors: Mapping[str, NDArray[Any]]
    form: Literal["timm", "tf1", "own"]
    image_size: int | None = None
    interpolation: str | None = None
    statistics: str | Mapping[str, Any] | None = None
    head_dims: tuple[int, ...] = ()
    config: Config | None = None
    iteration: int = 0

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
        return _open_hub_folder(path, str(path.resolve()))
    if Path(f"{name}.index").is_file():
        return _open_tf1(name)
    if path.is_file():
        return _open_file(path, model_name)
    if is_hub_id(name):
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
            pickles = [x.name for x in path.iterdir() if x.suffix in _PICKLES]
            raise FileNotFoundError(
                f"{expected}: is missing; expected config.json and model.safetensors "
                "of reBEN's hub family in the folder, or checkpoints of a run"
                + (f"; {min(pickles)} is a pickle: {_PICKLE_ADVICE}" if pickles else "")
            )
    config = hub_folder.read(config_path)
    trained = path / hub_folder.TRAINING
    return Published(
        path=str(weights_path),
        model_name=models.get_model(config.timm_model_name).name,
        bands=config.band_order(name),
        labels=config.labels,
        tensors=_read_safetensors(weights_path),
        form=config.names,
        image_size=config.image_size,
        interpolation=config.interpolation,
        statistics=config.statistics,
        head_dims=tuple(config.head_dims),
        config=configs.load(trained) if trained.is_file() else None,
        iteration=config.iteration,
    )


def _open_tf1(prefix: str) -> Published:
    """Opens a checkpoint of the TU Berlin TensorFlow models."""
    try:
        with files.plain_path(prefix) as path:
            reader = tf.train.load_checkpoint(path)
            names = [
                name
                for name in reader.get_variable_to_shape_map()
                if not _TF1_NO_WEIGHT.search(name)
            ]
            tensors = {name: reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
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
        image_size=120,
        interpolation="tf1_bicubic",
        statistics="v1",
    )


def _open_file(path: Path, model_name: str | None) -> Published:
    """Opens a `.safetensors` file with timm's names."""
    if path.suffix in _PICKLES:
        raise ValueError(f"{path}: is a pickle by its name; {_PICKLE_ADVICE}")
    if path.suffix == ".index":
        raise ValueError(
            f"{path}: is a part of a TensorFlow 1 checkpoint; name its prefix, "
            f"{path.with_suffix('')}"
        )
    if path.suffix != ".safetensors":
        found = _other_content(path)
        raise ValueError(
            f"{path}: expected a .safetensors file, the prefix of a TensorFlow 1 "
            "checkpoint, a folder of reBEN's hub family, or a run"
            + (f"; {found}" if found else "")
        )
    beside = path.with_name("config.json")
    if beside.is_file() and "timm_model_name" in files.read_text(beside, "JSON"):
        raise ValueError(
            f"{path}: {beside.name} beside it says what it is for, bands and labels; "
            f"name the folder, {path.parent}"
        )
    if model_name is None:
        raise ValueError(
            f"{path}: does not say of which architecture it is; name the model too"
        )
    return Published(
        path=str(path),
        model_name=models.get_model(model_name).name,
        bands=band_facts.resolve_bands("rgb"),
        labels=None,
        tensors=_read_safetensors(path),
        form="timm",
    )


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    found = _other_content(path)
    if found:
        raise ValueError(f"{path}: no safetensors file: {found}")
    try:
        return dict(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged, cut short, or no safetensors file ({error}); download "
            "it again"
        ) from error


def _other_content(path: Path) -> str | None:
    """Returns what a file is by its content, where that is known and not wanted."""
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its header, eight bytes that may be
    # any, and the header with a brace.
    if start[8:] == b"{":
        return None
    if start[:4] == b"PK\x03\x04":
        if _is_keras(path):
            return (
                "it is a saved Keras model; keras.models.load_model opens it once "
                "bigearthnet_tf.models is imported, and the folder of its run has its "
                "weights for other models"
            )
        if not _is_torch(path):
            return "it is a packed file: unpack it"
        return f"it is a zip, as torch.save makes of a pickle; {_PICKLE_ADVICE}"
    # The mark of protocol 2 to 5.
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return f"it is a pickle by its content; {_PICKLE_ADVICE}"
    return "it is a packed file: unpack it" if files.is_packed(path) else None


def _is_keras(path: Path) -> bool:
    """Tells whether a zip is a model that Keras has saved."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "model.weights.h5" in archive.namelist()


def _is_torch(path: Path) -> bool:
    """Tells whether a zip has a pickle in it, or is too damaged to tell."""
    if not zipfile.is_zipfile(path):
        return True
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())


def is_hub_id(name: str) -> bool:
    """Tells whether a name has the form of an id of the hub, `ORG/NAME`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def _fetch(name: str) -> Path:
    """Returns the folder that a hub id is downloaded to, once.

    Raises:
        OSError: the hub can't be reached, or has no such model.
        ValueError: the package for it is not installed.
    """
    taken = f"{name}: no such folder or file here; taken for a hub id, which"
    advice = (
        f"where there is a network, run: hf download {name} --local-dir "
        f"{name.split('/')[-1]}, and give that folder"
    )
    try:
        hub = extras.load("huggingface_hub", extra="huggingface")
    except ValueError as error:
        raise ValueError(f"{taken} can't be fetched ({error}); {advice}") from None
    try:
        return Path(
            hub.snapshot_download(
                name,
                allow_patterns=[
                    "config.json",
                    "model.safetensors",
                    hub_folder.TRAINING,
                    hub_folder.THRESHOLDS,
                ],
            )
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"{taken} can't be fetched ({reason}); {advice}") from error
