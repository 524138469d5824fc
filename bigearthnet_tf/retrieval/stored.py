"""Features of all patches of a split, in a folder that says what they are of.

A folder has `embeddings.json`, `<layer>.npy` (records, dimensions) float32 as the model
gives them, `labels.npy` (records, labels) uint8, and `names.json`. TensorFlow is not
needed to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from bigearthnet_tf import files, registry

VERSION = 1
SENSORS = ("s1", "s2", "fused")
# Those of `models.two_branch`, which needs Keras.
_FUSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "avg": lambda a, b: (a + b) / 2,
    "max": np.maximum,
    "sum": lambda a, b: a + b,
}


class Facts(pydantic.BaseModel):
    """`embeddings.json`.

    Attributes:
        version: of this form.
        tool_version: of the package that wrote it.
        key: hash of model, records and form: equal keys, equal features.
        model_hash: of the model's meaning and weights, see `embeddings.hash_model`.
        run: folder of the run.
        iteration: of its checkpoint.
        config: of the run, all keys.
        split: `train`, `val` or `test`.
        files: the shards.
        num_records: of them.
        labels: names in the order of `labels.npy`.
        layers: dimensions of each.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=()
    )

    version: int
    tool_version: str
    key: str
    model_hash: str
    run: str
    iteration: int
    config: dict[str, Any]
    split: str
    files: list[str]
    num_records: int
    labels: list[str]
    layers: dict[str, int]


@dataclass(frozen=True)
class Items:
    """What is known of patches beside their features.

    Attributes:
        names: those of Sentinel-2 where there are any.
        names_s1: of their Sentinel-1 partners, empty where there are none.
        labels: (items, labels) uint8.
        label_names: in the order of the columns.
    """

    names: list[str]
    names_s1: list[str]
    labels: NDArray[np.uint8]
    label_names: list[str]

    def find(self, name: str | None = None, number: int | None = None) -> int:
        """Returns the row of a patch, by the name of either sensor or by number.

        Raises:
            ValueError: there is none; offers the nearest names.
        """
        count = len(self.names)
        if number is not None:
            if not 0 <= number < count:
                raise ValueError(
                    f"no patch {number}: there are {count}, counted from 0"
                )
            return number
        for names in (self.names, self.names_s1):
            if name in names:
                return names.index(str(name))
        near = registry.nearest_names(str(name), self.names)
        raise ValueError(f"no patch {name!r} among {count}: {near}")

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Returns the labels of a patch."""
        has = np.flatnonzero(self.labels[row])
        return tuple(self.label_names[j] for j in has)


@dataclass(frozen=True)
class Embeddings:
    """Features of a split.

    Attributes:
        facts: what they are of.
        layers: name, such as `p_s2`, to (records, dimensions) float32, on disk.
        labels: (records, labels) uint8.
        names: of the records, those of Sentinel-2 where there are any.
        names_s1: of their Sentinel-1 partners, empty where there are none.
    """

    facts: Facts
    layers: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]
    names: list[str]
    names_s1: list[str]

    @property
    def items(self) -> Items:
        """What is known of the patches beside their features."""
        return Items(self.names, self.names_s1, self.labels, self.facts.labels)

    def features(
        self, sensor: str, layer: str = "p", fusion: str = "concat"
    ) -> NDArray[np.float32]:
        """Returns the features of one sensor, or of both as one.

        Args:
            sensor: `s1`, `s2` or `fused`.
            layer: `p` for projections, `h` for features before them.
            fusion: how both become one: `concat`, `avg`, `max` or `sum`.

        Returns:
            (records, dimensions) float32.

        Raises:
            ValueError: there are none of that sensor or layer.
        """
        return take(self.layers, sensor, layer, fusion, self.facts.run)


def take(
    layers: Mapping[str, NDArray[np.float32]],
    sensor: str,
    layer: str,
    fusion: str,
    where: str = "these embeddings",
) -> NDArray[np.float32]:
    """Returns features of one sensor, or of both as one; see `Embeddings.features`."""
    if sensor not in SENSORS or layer not in ("h", "p"):
        raise ValueError(
            f"expected a sensor of {', '.join(SENSORS)} and a layer h or p, got "
            f"{sensor!r} and {layer!r}"
        )
    name = f"{layer}_{sensor}"
    if name in layers:
        return layers[name]
    parts = [f"{layer}_s1", f"{layer}_s2"]
    if sensor != "fused" or not set(parts) <= set(layers):
        raise ValueError(
            f"{where}: no features {name!r}; there are {', '.join(layers)}"
        )
    if fusion not in _FUSIONS:
        raise ValueError(f"expected a fusion of {', '.join(_FUSIONS)}, got {fusion!r}")
    one, other = (np.asarray(layers[part]) for part in parts)
    return _FUSIONS[fusion](one, other)


def load(folder: Path | str) -> Embeddings:
    """Opens a folder of features; they stay on disk until they are used.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it is not whole, or of another form; says what is wrong with it.
    """
    folder = Path(folder)
    if not (folder / "embeddings.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no embeddings.json; expected a folder that `bigearthnet-tf "
            "embed` has written"
        )
    facts = files.read_checked(folder / "embeddings.json", Facts)
    if facts.version != VERSION:
        raise ValueError(
            f"{folder}: expected form {VERSION}, got {facts.version}; embed again"
        )
    count = facts.num_records
    layers = {
        name: open_array(folder / f"{name}.npy", (count, dims), np.float32)
        for name, dims in facts.layers.items()
    }
    labels = open_array(folder / "labels.npy", (count, len(facts.labels)), np.uint8)
    names = files.read_json(folder / "names.json")
    return Embeddings(facts, layers, labels, names["s2"], names["s1"])


def open_array(path: Path, shape: tuple[int, int], dtype: type) -> NDArray[Any]:
    """Opens a matrix that stays on disk until it is used.

    Raises:
        ValueError: missing, damaged, of another shape or dtype.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged or missing; remove {path.parent} and write it again"
        ) from error
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{path}: expected {np.dtype(dtype)} of shape {shape}, got {array.dtype} "
            f"of {array.shape}; remove {path.parent} and write it again"
        )
    return array
