"""What the pixels and names of a patch must fulfil beyond shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import labels, pairs
from bigearthnet_tf.archive.patch import Patch


def check_finite(bands: Mapping[str, NDArray[Any]], where: str) -> None:
    """Refuses pixels that are NaN or infinite.

    A network passes them on, or hides them: a ReLU makes 0 of NaN.

    Args:
        bands: by name, of any dtype.
        where: the patch, for the message.

    Raises:
        ValueError: names the first band that has some, and how many.
    """
    for name, pixels in bands.items():
        if pixels.dtype.kind != "f":
            continue
        finite = np.isfinite(pixels)
        if not finite.all():
            count = int(finite.size - np.count_nonzero(finite))
            raise ValueError(
                f"{where}: {count} of {finite.size} pixels of {name} are NaN or "
                "infinite: take the patch from the original archive, or leave it out "
                "(--on-error skip)"
            )


def check_patch(patch: Patch, where: str) -> None:
    """Refuses a patch whose names are no pair, or with codes or pixels that are none.

    Args:
        patch: with whatever bands and map it has.
        where: file and record, for the message.

    Raises:
        ValueError: says what is wrong.
    """
    pairs.check(patch.name_s2, patch.name_s1, where)
    name = patch.name_s2 or patch.name_s1
    where = f"{where}, patch {name}" if name else where
    if patch.reference_map is not None:
        labels.check_codes(patch.reference_map, f"{where}: reference map")
    check_finite(patch.bands, where)
