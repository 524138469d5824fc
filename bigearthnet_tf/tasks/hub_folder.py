"""What a model of reBEN's hub family says of itself: `config.json` beside its weights.

The reBEN tools store the architecture and the number of channels; which bands these are
follows from the version in the name of the folder. We store more: bands, labels,
statistics and resampling of the input, and what `bigearthnet-tf publish` knows.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from bigearthnet_tf import files
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.resampling import KERNELS

logger = logging.getLogger(__name__)

# reBEN's band orders by number of channels: ConfigILM's BENv1 reader for the weights
# of v0.1.1, its BENv2 reader from v0.2.0 on.
_BANDS = {
    "0.1.1": {2: "ilm_v1_s1", 3: "rgb", 10: "ilm_v1_s2", 12: "ilm_v1_all"},
    "0.2.0": {2: "s1", 3: "rgb", 10: "s2", 12: "all", 14: "all_full"},
}
# Beside them in a folder that we publish: the config of the run, and thresholds.
TRAINING, THRESHOLDS = "training.json", "thresholds.json"
_VERSION = re.compile(r"v(\d+\.\d+\.\d+)")
# Keys that change no number of a trained image classifier: ConfigILM's of dropout, text
# encoder and fusion, those of reBEN's training, and what the hub's library, timm and
# `publish` note.
_WITHOUT_EFFECT = frozenset(
    {
        "_fusion_activation",
        "_fusion_method",
        "custom_fusion_activation",
        "custom_fusion_method",
        "drop_path_rate",
        "drop_rate",
        "fusion_activation",
        "fusion_dropout_rate",
        "fusion_hidden",
        "fusion_in",
        "fusion_method",
        "fusion_out",
        "hf_model_name",
        "load_hf_if_available",
        "load_pretrained_hf_if_available",
        "load_pretrained_timm_if_available",
        "load_timm_if_available",
        "max_sequence_length",
        "t_dropout_rate",
        "use_pooler_output",
        "v_dropout_rate",
        "visual_features_out",
        "head_dropout",
        "linear_probe",
        "lr",
        "warmup",
        "architectures",
        "library_name",
        "license",
        "made_by",
        "model_type",
        "pipeline_tag",
        "repo_url",
        "tags",
        "torch_dtype",
        "transformers_version",
    }
)
# Keys of reBEN's forks with which the tensors or the input mean something else, and the
# values that change nothing.
_LIMITED: dict[str, tuple[Any, ...]] = {
    "dinov3_model_name": (None,),
    "head_type": (None, "linear"),
    "mlp_hidden_dims": (None, []),
    "mean": (None,),
    "std": (None,),
}
# Of ConfigILM's enumeration; 1 classifies an image and a question.
_IMAGE_CLASSIFICATION = ("None", "0", "IMAGE_CLASSIFICATION", "VISION_CLASSIFICATION")

# Of a layer of the head, in units, and of an image, in pixels a side: beyond, a network
# of that config would not fit into any memory, before its weights are compared with it.
_LARGEST_LAYER, _LARGEST_IMAGE = 2**20, 2**14


class HubConfig(pydantic.BaseModel):
    """The keys that matter here; the others of the reBEN tools are passed over.

    Attributes:
        timm_model_name: architecture.
        channels: number of bands.
        classes: number of labels.
        image_size: pixels a side.
        bands: in the network's order; None in reBEN's own folders.
        class_names: labels in the order of the outputs; None, or numbers from "0" on
            as ConfigILM fills them in, name nothing.
        statistics: that the input is standardised with, by name or value.
        interpolation: kernel of the resampling.
        names: of the tensors: `timm`'s, or our `own`.
        head_dims: units of the hidden layers before the last one.
        iteration: at which the weights were saved; 0: not known.
    """

    model_config = pydantic.ConfigDict(
        extra="ignore", frozen=True, strict=True, protected_namespaces=()
    )

    timm_model_name: str
    channels: int = Field(gt=0)
    classes: int = Field(19, gt=0)
    image_size: int = Field(120, gt=0, le=_LARGEST_IMAGE)
    bands: list[str] | None = None
    class_names: list[str] | None = None
    statistics: str | dict[str, dict[str, float]] = "v2_120_nearest"
    interpolation: str = "nearest"
    names: Literal["timm", "own"] = "timm"
    head_dims: list[Annotated[int, Field(gt=0, le=_LARGEST_LAYER)]] = []
    iteration: int = Field(0, ge=0, lt=2**63)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _unwrap(cls, content: Any) -> Any:
        # The hub's library stores the arguments of the model, of which one is this.
        if isinstance(content, dict) and "config" in content:
            inner = content["config"]
            if not isinstance(inner, dict):
                return inner
            content = {k: v for k, v in content.items() if k != "config"} | inner
        if isinstance(content, dict):
            _check_others({k: v for k, v in content.items() if k not in cls.known()})
        return content

    @classmethod
    def known(cls) -> frozenset[str]:
        """Returns the keys that are read."""
        return frozenset(cls.model_fields)

    @pydantic.field_validator("bands")
    @classmethod
    def _check_bands(cls, bands: list[str] | None) -> list[str] | None:
        return bands and list(band_facts.resolve_bands(bands))

    @pydantic.field_validator("class_names")
    @classmethod
    def _check_labels(cls, names: list[str] | None) -> list[str] | None:
        known = [set(order) for order in label_facts.ORDERS.values()]
        if names is None or _is_numbering(names):
            return names
        if set(names) in known and len(set(names)) == len(names):
            return names
        every = {label for labels in known for label in labels}
        for name in names:
            if name not in every:
                near = difflib.get_close_matches(name, every, 1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ValueError(
                    f"unknown label {name!r:.80}{hint}; expected names of labels of "
                    "BigEarthNet, or the numbers from '0' on in their order"
                )
        raise ValueError("expected all 19 or all 43 labels, each once")

    @pydantic.field_validator("statistics")
    @classmethod
    def _check_statistics(cls, statistics: Any) -> Any:
        band_statistics.band_statistics(statistics)
        return statistics

    @pydantic.field_validator("interpolation")
    @classmethod
    def _check_interpolation(cls, interpolation: str) -> str:
        return KERNELS.resolve(interpolation)

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> HubConfig:
        for key, members, count in (
            ("channels", self.bands, self.channels),
            ("classes", self.class_names, self.classes),
        ):
            if members is not None and len(members) != count:
                raise ValueError(f"{key} is {count}, but {len(members)} are named")
        return self

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Labels in the order of the outputs; None where that is not known."""
        if self.class_names is not None and not _is_numbering(self.class_names):
            return tuple(self.class_names)
        return label_facts.ORDERS["S19"] if self.classes == 19 else None

    def band_order(self, name: str) -> tuple[str, ...]:
        """Returns the bands in the network's order.

        Args:
            name: of the folder or on the hub, whose version decides where the file
                does not say.

        Raises:
            ValueError: no version in the name, or no set of so many bands.
        """
        if self.bands is not None:
            return tuple(self.bands)
        found = _VERSION.search(os.path.basename(name.rstrip("/")))  # noqa: PTH119
        if found is None:
            raise ValueError(
                f"{name}: reBEN's weights of v0.1.1 and v0.2.0 have different band "
                "orders, and the name of the folder does not say which these are; "
                "call it as on the hub, such as resnet50-s2-v0.2.0"
            )
        version = tuple(map(int, found[1].split(".")))
        orders = _BANDS["0.1.1" if version < (0, 2, 0) else "0.2.0"]
        if self.channels not in orders:
            raise ValueError(
                f"{name}: expected {', '.join(map(str, orders))} channels, got "
                f"{self.channels}"
            )
        return band_facts.resolve_bands(orders[self.channels])


def _check_others(others: dict[str, Any]) -> None:
    """Raises ValueError for keys that are not read but would change the numbers."""
    kind = others.pop("network_type", None)
    if str(kind).removeprefix("ILMType.").split(" ")[0] not in _IMAGE_CLASSIFICATION:
        raise ValueError(
            f"network_type is {files.echo(kind)}, expected 0, an image classifier; "
            "other networks can't be read"
        )
    for key, value in others.items():
        if key in _LIMITED and value not in _LIMITED[key]:
            raise ValueError(
                f"{key} is {files.echo(value)}, for weights of another network or "
                f"input; expected {_LIMITED[key][-1]!r}"
            )
    unknown = sorted(set(others) - _WITHOUT_EFFECT - set(_LIMITED))
    for key in unknown:
        near = difflib.get_close_matches(key, HubConfig.known(), 1, cutoff=0.8)
        if near:
            raise ValueError(f"unknown key {key!r} (did you mean {near[0]!r}?)")
    if unknown:
        shown = " ".join(", ".join(unknown).split())
        logger.warning("config.json: passed over: %.300s", shown)


def _is_numbering(names: list[str]) -> bool:
    return names == [str(number) for number in range(len(names))]


def read(path: Path) -> HubConfig:
    """Reads the `config.json` of a folder of reBEN's hub family.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or a key is missing or wrong; the message names it.
    """
    return files.read_checked(path, HubConfig)
