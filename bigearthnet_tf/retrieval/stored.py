"""Features of all patches of a split, in a folder that says what they are of.

A folder has `embeddings.json`, `<layer>.npy` (records, dimensions) float32 as the model
gives them, `labels.npy` (records, labels) uint8, and `names.json`. TensorFlow is not
needed to read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.retrieval import folders
from bigearthnet_tf.vectors import fuse, unit

VERSION = 2
SENSORS = ("s1", "s2", "fused")
# Names that an error offers.
_OFFERED = 3


def all_different(names: list[str]) -> list[str]:
    """Returns names as they are, for pydantic.

    Raises:
        ValueError: one is there twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{files.echo(twice[0])} is there twice")
    return names


class _Names(pydantic.BaseModel):
    """`names.json`: of both sensors, empty where a patch has none."""

    model_config = pydantic.ConfigDict(strict=True)

    s1: list[str]
    s2: list[str]


class Facts(pydantic.BaseModel):
    """`embeddings.json`.

    Attributes:
        version: of this form.
        tool_version: of the package that wrote it.
        key: hash of model, records and form: equal keys, equal features.
        model_hash: of the model's meaning and weights, see `embeddings.hash_model`.
        precision: dtype policy that they were computed with.
        preprocessing: what is done with digital numbers before the first layer:
            `image_size`, `interpolation`, `statistics`, and their `mean` and `std` of
            each band.
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
    precision: str
    preprocessing: dict[str, Any]
    run: str
    iteration: int
    config: dict[str, Any]
    split: str
    files: list[str]
    num_records: int
    labels: Annotated[list[str], pydantic.AfterValidator(all_different)]
    layers: dict[Annotated[str, pydantic.Field(pattern=r"^[hp]_(s1|s2|fused)$")], int]


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

    def check(self, where: str) -> None:
        """Checks that all lists and labels are of the same patches.

        Args:
            where: for the message.

        Raises:
            ValueError: other numbers of names or labels, labels other than 0 and 1, or
                a name that is empty, no text, or of several lines.
        """
        shape = (len(self.names), len(self.label_names))
        if len(self.names_s1) != shape[0] or self.labels.shape != shape:
            raise ValueError(
                f"{where}: expected {shape[0]} names of Sentinel-1 and labels of shape "
                f"{shape}, got {len(self.names_s1)} and {self.labels.shape}; nothing "
                "was changed, embed again"
            )
        if self.labels.dtype != np.uint8 or (shape[0] and self.labels.max() > 1):
            raise ValueError(
                f"{where}: expected labels of 0 and 1 in uint8, got "
                f"{self.labels.dtype} up to {self.labels.max()}; embed again"
            )
        check_names(where, self.names)
        check_names(where, self.names_s1, may_lack=True)

    def find(self, name: str | None = None, number: int | None = None) -> int:
        """Returns the row of a patch, by the name of either sensor or by number.

        Raises:
            ValueError: there is none; offers names that begin alike.
        """
        count = len(self.names)
        if number is not None:
            if not 0 <= number < count:
                raise ValueError(
                    f"no patch {number}: there are {count}, counted from 0"
                )
            return number
        for names in (self.names, self.names_s1) if name else ():
            if name in names:
                return names.index(str(name))
        near = _alike(str(name), self.names) or _alike(str(name), self.names_s1)
        offered = " or ".join(map(repr, near or self.names[:1]))
        kind = "did you mean" if near else "they look like"
        raise ValueError(f"no patch {name!r} among {count}: {kind} {offered}?")

    def rows(self) -> dict[str, int]:
        """Returns the row of each patch by its names."""
        found = {name: row for row, name in enumerate(self.names_s1)}
        found |= {name: row for row, name in enumerate(self.names)}
        # Of patches without a partner.
        found.pop("", None)
        return found

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Returns the labels of a patch."""
        has = np.flatnonzero(self.labels[row])
        return tuple(self.label_names[j] for j in has)


def check_names(where: str, names: Sequence[str], may_lack: bool = False) -> None:
    """Checks that names can be kept a line each.

    Args:
        where: for the message.
        names: of patches.
        may_lack: whether a name may be empty.

    Raises:
        ValueError: a name is empty, no text, or of several lines.
    """
    for row, name in enumerate(names):
        if (
            not isinstance(name, str)
            or not (name or may_lack)
            or {"\n", "\r"} & set(name)
            or not name.isprintable()
        ):
            raise ValueError(
                f"{where}: expected names of one line, got {str(name)[:60]!r} as name "
                f"{row}; nothing was changed, embed again"
            )


def _alike(name: str, names: list[str]) -> list[str]:
    """Returns the first names that begin like one, as far as any does.

    Comparing letter by letter would take minutes for all of BigEarthNet.
    """
    least, most = 0, len(name)
    while least < most:
        middle = (least + most + 1) // 2
        if any(other.startswith(name[:middle]) for other in names):
            least = middle
        else:
            most = middle - 1
    if not least:
        return []
    return [other for other in names if other.startswith(name[:least])][:_OFFERED]


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
        self,
        sensor: str,
        layer: str = "p",
        fusion: str = "concat",
        metric: str = "cosine",
    ) -> NDArray[np.float32]:
        """Returns the features of one sensor, or of both as one.

        Args:
            sensor: `s1`, `s2` or `fused`.
            layer: `p` for projections, `h` for features before them.
            fusion: how both become one: `concat`, `avg`, `max` or `sum`.
            metric: of the distance that they are for. For `cosine` each sensor gets
                unit length first, as it has in the loss: else the one with longer
                vectors would decide alone.

        Returns:
            (records, dimensions) float32.

        Raises:
            ValueError: there are none of that sensor or layer.
        """
        self._check_fused(sensor, layer, fusion, metric)
        return take(self.layers, sensor, layer, fusion, metric, self.facts.run)

    def _check_fused(self, sensor: str, layer: str, fusion: str, metric: str) -> None:
        """Raises ValueError where the features of both were written for other uses."""
        stored_alone = "p_fused" in self.layers and "p_s1" not in self.layers
        if (sensor, layer) != ("fused", "p") or not stored_alone:
            return
        own = (self.facts.config["fusion"], self.facts.config["retrieval_metric"])
        if (fusion, metric) != own:
            raise ValueError(
                f"{self.facts.run}: p_fused is of fusion {own[0]} for {own[1]}, not of "
                f"{fusion} for {metric}; embed the layer p, which serves all"
            )


def take(
    layers: Mapping[str, NDArray[np.float32]],
    sensor: str,
    layer: str,
    fusion: str,
    metric: str = "cosine",
    where: str = "these embeddings",
) -> NDArray[np.float32]:
    """Returns features of one sensor, or of both as one; see `Embeddings.features`."""
    if sensor not in SENSORS or layer not in ("h", "p"):
        raise ValueError(
            f"expected a sensor of {', '.join(SENSORS)} and a layer h or p, got "
            f"{sensor!r} and {layer!r}"
        )
    name = f"{layer}_{sensor}"
    parts = [f"{layer}_s1", f"{layer}_s2"]
    if sensor == "fused" and set(parts) <= set(layers):
        one, other = (np.asarray(layers[part]) for part in parts)
        if metric == "cosine":
            one, other = unit(one), unit(other)
        fused: NDArray[np.float32] = fuse(one, other, fusion)
        return fused
    if name in layers:
        return layers[name]
    raise ValueError(f"{where}: no features {name!r}; there are {', '.join(layers)}")


def load(folder: Path | str) -> Embeddings:
    """Opens a folder of features; they stay on disk until they are used.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it is not whole, or of another form; says what is wrong with it.
    """
    folder = Path(folder)
    files.check_unpacked(folder, "a folder of features")
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
    advice = f"remove {folder} and embed again"
    layers = {
        name: folders.open_array(
            folder / f"{name}.npy", (count, dims), np.float32, advice
        )
        for name, dims in facts.layers.items()
    }
    labels = folders.open_array(
        folder / "labels.npy", (count, len(facts.labels)), np.uint8, advice
    )
    names = files.read_checked(folder / "names.json", _Names)
    for sensor, of in (("s2", names.s2), ("s1", names.s1)):
        if len(of) != count:
            raise ValueError(
                f"{folder / 'names.json'}: expected {count} names under {sensor}, got "
                f"{len(of)}; {advice}"
            )
    return Embeddings(facts, layers, labels, names.s2, names.s1)
