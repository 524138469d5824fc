"""The values of a v2 LMDB: arrays in safetensors form, as rico-hdl writes them.

| key | arrays |
|---|---|
| Sentinel-2 name | B01 to B12, uint16 |
| Sentinel-1 name | VV VH, float32 |
| Sentinel-2 name + `_reference_map` | Data: CLC codes, uint16 (120, 120) |

Written by the same library from the same pixels, a value is the published one byte for
byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from bigearthnet_tf.archive import (
    bands,
    labels,
    lmdb_v1_values,
    names,
    pairs,
    patch_content,
    patch_values,
)
from bigearthnet_tf.archive.patch import Patch, check_band, check_raster

# Lies beside `data.mdb` where patches come from `bigearthnet-tf sample`.
GENERATED_FILE = "GENERATED.txt"
MAP_SUFFIX = "_reference_map"
_MAP_ARRAY = "Data"
_MAP_PIXELS = 120


def map_key(name: str) -> str:
    """Returns the key of the reference map of a patch."""
    return f"{name}{MAP_SUFFIX}"


@dataclass(frozen=True)
class Value:
    """A value that was read.

    Attributes:
        arrays: by name, each owner of its memory.
        where: path, patch and key, for messages.
    """

    arrays: dict[str, NDArray[Any]]
    where: str

    @classmethod
    def decode(cls, stored: bytes, where: str) -> Value:
        """Returns the arrays of a value.

        Raises:
            ValueError: not in safetensors form.
        """
        try:
            # A type that NumPy lacks is a KeyError.
            return cls(safetensors.numpy.load(stored), where)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"{where}: expected arrays in safetensors form, got {judge(stored)}"
            ) from error

    def band(self, name: str) -> NDArray[Any]:
        """Returns the pixels of a band.

        Raises:
            ValueError: there is no such array, it has another shape or dtype, or it is
                Sentinel-1 that is no decibels.
        """
        pixels = self._take(name)
        check_band(name, pixels, self.where)
        patch_values.check_decibels(pixels, name, self.where)
        return pixels

    def codes(self) -> NDArray[np.uint16]:
        """Returns the CLC codes of a reference map.

        Raises:
            ValueError: as `band`.
        """
        codes = self._take(_MAP_ARRAY)
        _check_map(codes, self.where)
        return codes

    def _take(self, name: str) -> NDArray[Any]:
        if name not in self.arrays:
            raise ValueError(
                f"{self.where}: expected an array {name}, got "
                f"{' '.join(sorted(self.arrays)) or 'none'}: encode the patch again, "
                "or leave it out of the list"
            )
        return self.arrays[name]


def encode(patch: Patch) -> dict[str, bytes]:
    """Returns the values of a patch by their keys.

    Args:
        patch: of v2, with its names; whichever bands and map it has are encoded.

    Raises:
        ValueError: a patch of v1, a name is missing, there are no bands, or one has
            another shape or dtype than it should.
    """
    what = f"patch {patch.name_s2 or patch.name_s1}"
    _check_names(patch, what)
    patch_content.check_finite(patch.bands, what)
    if not patch.bands:
        raise ValueError(f"{what}: expected bands to write to the LMDB, got none")
    values = {}
    for sensor, key in (("S2", patch.name_s2), ("S1", patch.name_s1)):
        own = {n: a for n, a in patch.bands.items() if bands.BANDS[n].sensor == sensor}
        for name, pixels in own.items():
            check_band(name, pixels, what)
        if own:
            values[str(key)] = _save(own)
    if patch.reference_map is not None:
        _check_map(patch.reference_map, what)
        values[map_key(str(patch.name_s2))] = _save({_MAP_ARRAY: patch.reference_map})
    return values


def _save(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    # The library writes memory as it lies.
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    )


def _check_names(patch: Patch, what: str) -> None:
    pairs.check(patch.name_s2, patch.name_s1, what)
    sensors = {bands.BANDS[name].sensor for name in patch.bands}
    for sensor, key in (("S2", patch.name_s2), ("S1", patch.name_s1)):
        if key is None and sensor in sensors:
            raise ValueError(
                f"{what}: has bands of {sensor} but no {sensor} name, which is its key "
                "in an LMDB: take the patches from where they have their names"
            )
    if patch.name_s2 is None:
        if patch.reference_map is not None:
            raise ValueError(f"{what}: has a reference map but no S2 name for its key")
    elif names.parse_name(patch.name_s2).version != "v2":
        raise ValueError(
            f"{what}: expected a patch of BigEarthNet v2, but this is a name of v1: "
            "there are safetensors LMDBs of v2 only"
        )


def _check_map(codes: NDArray[Any], where: str) -> None:
    where = f"{where}: reference map"
    check_raster(codes, _MAP_PIXELS, "uint16", where)
    labels.check_codes(codes, where)


def judge(stored: bytes) -> str:
    """Returns what a value is instead, by its first bytes, and what to do about it.

    Safetensors: eight bytes for the length of the header, then the header, from `{` on.
    """
    if lmdb_v1_values.is_pyarrow(stored):
        return lmdb_v1_values.OF_PYARROW
    if lmdb_v1_values.is_pickle(stored):
        found = "a pickle, as LMDBs of v1 alone have"
    elif stored[8:9] == b"{":
        found = f"{len(stored)} bytes that are damaged or cut short"
    else:
        found = f"{len(stored)} bytes of an unknown form"
    return f"{found}: encode the patch again, or leave it out of the list"
