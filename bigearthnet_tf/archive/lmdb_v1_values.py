"""The values of the LMDBs of v1, which are pickles of two forms.

| written by | value |
|---|---|
| bigearthnet_encoder (read by ConfigILM) | an object whose `s2_patch` and `s1_patch` have attributes `band02`, `bandVV` and so on, each with the pixels in `data`; it has `labels` of the 43 and `new_labels` of the 19, or None |
| the CBIR project, Sentinel-2 | a tuple of float32 arrays: B02 B03 B04 B08 (4, 120, 120), B05 B06 B07 B8A B11 B12 (6, 60, 60), B01 B09 (2, 20, 20), and the vector of the 19 labels |
| the CBIR project, Sentinel-1 | a tuple of VV and VH, each (1, 120, 120), and the vector |

They are read by `pickles`, which executes nothing. A third form, that of
`bigearthnet-19-models` for PyTorch, can't be read any more: `pyarrow.serialize` was
removed from pyarrow.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels, patch_values, pickles
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.patch import check_band
from bigearthnet_tf.archive.pickle_parts import Holder, describe

OF_PYARROW = (
    "what bigearthnet-19-models wrote with pyarrow.serialize, which was removed from "
    "pyarrow and can't be read any more: give the GeoTIFFs instead"
)
_REMEDY = "get the LMDB from its source again, or leave the patch out of the list"
# The bands in each array of the tuples of the CBIR project, by their number.
_S2_ARRAYS = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
    ("B01", "B09"),
)
_S1_ARRAYS = (("VV",), ("VH",))
# Attributes of the patches of bigearthnet_encoder: band01, band8A, bandVV.
_ATTRIBUTES = {f"band{name.removeprefix('B')}": name for name in BANDS}


@dataclass(frozen=True)
class Value:
    """A value that was read.

    Attributes:
        arrays: band name to pixels as they are stored.
        labels: those of `label_type`; None where the value has none.
        label_type: `"original"` of bigearthnet_encoder, else `"BigEarthNet-19"`.
        where: path, patch and key, for messages.
    """

    arrays: dict[str, NDArray[Any]]
    labels: tuple[str, ...] | None
    label_type: str
    where: str

    def band(self, name: str) -> NDArray[Any]:
        """Returns the pixels of a band.

        Raises:
            ValueError: there is no such band, it has another shape or dtype, digital
                numbers are no whole ones, or Sentinel-1 is no decibels.
        """
        if name not in self.arrays:
            raise ValueError(
                f"{self.where}: expected a band {name}, got "
                f"{' '.join(self.arrays) or 'none'}: {_REMEDY}"
            )
        pixels = self.arrays[name]
        if self.label_type == labels.BIGEARTHNET_19 and BANDS[name].sensor == "S2":
            pixels = _whole(pixels, f"{self.where}: band {name}")
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        check_band(name, pixels, self.where)
        patch_values.check_decibels(pixels, name, self.where)
        return pixels

    def known_labels(self) -> tuple[str, ...]:
        """Returns the labels.

        Raises:
            ValueError: the value has none.
        """
        if self.labels is None:
            raise ValueError(f"{self.where}: expected labels, got none: {_REMEDY}")
        return self.labels


def is_pickle(stored: bytes) -> bool:
    """Tells whether a value is a pickle by its first and last bytes.

    Arrays in safetensors form may begin with the same bytes, but have a brace behind
    the eight bytes of a length.
    """
    if stored[8:9] == b"{":
        return False
    if stored[:1] == b"\x80":
        return stored[1:2] in (b"\2", b"\3", b"\4", b"\5")
    # Protocols 0 and 1: a tuple, or an object of a class.
    return stored[:1] in (b"(", b"c") and stored[-1:] == b"."


def is_pyarrow(stored: bytes) -> bool:
    """Tells whether `pyarrow.serialize` wrote a value.

    It begins with four counts of 32 bits, the first of them 0, then 0xffffffff.
    """
    return stored[:4] == bytes(4) and stored[16:20] == b"\xff" * 4


def decode(stored: bytes, where: str) -> Value:
    """Returns the bands and labels of a value, of which nothing is executed.

    Args:
        stored: the value.
        where: path, patch and key, for messages.

    Raises:
        ValueError: not a pickle of one of the two forms; or the labels are none.
    """
    if is_pyarrow(stored):
        raise ValueError(f"{where}: expected a pickle, got {OF_PYARROW}")
    try:
        if not is_pickle(stored):
            raise ValueError("it is no pickle")
        found = pickles.interpret(stored)
        if type(found) is tuple:
            return _of_tuple(found, where)
        return _of_patch(found, where)
    except ValueError as error:
        raise ValueError(
            f"{where}: expected a patch that bigearthnet_encoder or the CBIR project "
            f"pickled, but {error}: nothing of it was executed; {_REMEDY}"
        ) from error


def _of_patch(found: Any, where: str) -> Value:
    """Returns the value of bigearthnet_encoder: of both sensors, or of one."""
    if not isinstance(found, Holder):
        raise ValueError(f"it holds {describe(found)}")
    patch = found.attributes()
    arrays: dict[str, NDArray[Any]] = {}
    for part in (found, patch.get("s2_patch"), patch.get("s1_patch")):
        if isinstance(part, Holder):
            arrays |= _bands(part)
    if not arrays:
        raise ValueError(f"it holds {describe(found)} without bands")
    return Value(arrays, _labels_of(patch), labels.ORIGINAL, where)


def _bands(patch: Holder) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields the bands of the patch of one sensor."""
    for attribute, band in patch.attributes().items():
        name = _ATTRIBUTES.get(attribute)
        if name is None:
            continue
        own = band.attributes() if isinstance(band, Holder) else {}
        pixels = own.get("data")
        if not isinstance(pixels, np.ndarray):
            raise ValueError(f"its {attribute} has {describe(pixels)} for pixels")
        if own.get("name", name) != name:
            raise ValueError(f"its {attribute} says that it is another band")
        yield name, pixels


def _labels_of(patch: dict[Any, Any]) -> tuple[str, ...] | None:
    """Returns the 43 labels, which must give the 19 that stand beside them."""
    names = patch.get("labels")
    if names is None:
        return None
    own = _names(names)
    if not own:
        raise ValueError("its list of labels is empty")
    labels.to_multi_hot(own, labels.ORIGINAL)
    given = patch.get("new_labels")
    if given is not None and set(_names(given)) != set(labels.convert_43_to_19(own)):
        raise ValueError("its new_labels are not those of its labels")
    return own


def _names(stored: Any) -> tuple[str, ...]:
    if not isinstance(stored, list | tuple) or not all(type(x) is str for x in stored):
        raise ValueError("its labels are no list of names")
    return tuple(stored)


def _of_tuple(found: tuple[Any, ...], where: str) -> Value:
    """Returns the value of the CBIR project, of one sensor."""
    groups = _S2_ARRAYS if len(found) == len(_S2_ARRAYS) + 1 else _S1_ARRAYS
    if len(found) != len(groups) + 1:
        raise ValueError(f"it is a tuple of {len(found)}, expected 4 (S2) or 3 (S1)")
    if not all(isinstance(array, np.ndarray) for array in found):
        raise ValueError("it is a tuple of other things than arrays")
    arrays: dict[str, NDArray[Any]] = {}
    for stack, names in zip(found, groups, strict=False):
        if stack.ndim != 3 or len(stack) != len(names):
            raise ValueError(
                f"it has an array of shape {stack.shape} for {' '.join(names)}"
            )
        arrays |= zip(names, stack, strict=True)
    own = labels.from_multi_hot(found[-1], labels.BIGEARTHNET_19)
    return Value(arrays, own, labels.BIGEARTHNET_19, where)


def _whole(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    """Returns digital numbers as uint16, which those of other types must be exactly.

    Raises:
        ValueError: fractions, NaN, or numbers beyond uint16.
    """
    if pixels.dtype == np.uint16 or pixels.dtype.kind not in "iuf":
        return pixels
    fits = (pixels >= 0) & (pixels < 2**16) & (pixels == np.rint(pixels))
    if not fits.all():
        odd = pixels[~fits]
        raise ValueError(
            f"{where}: expected digital numbers as the CBIR project stores them, but "
            f"{odd.size} of {pixels.size} are no whole numbers of uint16 ({odd[0]:g}): "
            f"{_REMEDY}"
        )
    return pixels.astype(np.uint16)
