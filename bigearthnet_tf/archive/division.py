"""Ways to divide patches into splits, each with the names of its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import metadata, spatial, stratification
from bigearthnet_tf.archive.patch_set import PatchSet


@dataclass(frozen=True, eq=False)
class Division:
    """Which split each patch is in.

    Attributes:
        method: in words.
        splits: their names.
        assigned: (patches,) indices into `splits`.
        ratios: of the splits, as they were asked for; None where nobody did.
    """

    method: str
    splits: tuple[str, ...]
    assigned: NDArray[np.intp]
    ratios: tuple[float, ...] | None = None

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Patches of each split."""
        return np.bincount(self.assigned, minlength=len(self.splits))


def as_listed(patches: PatchSet) -> Division:
    """Returns the splits that the patches have already, official or of lists.

    Raises:
        ValueError: a patch is in no split.
    """
    own = patches.table["split"]
    without = int((own == "").sum())
    if without:
        raise ValueError(
            f"{without} of {len(own)} patches are in no split yet: choose --ratios, "
            "--folds or --blocks"
        )
    present = list(own.unique())
    splits = [name for name in metadata.SPLITS if name in present]
    splits += [name for name in present if name not in splits]
    numbers = {name: index for index, name in enumerate(splits)}
    assigned = own.map(numbers)
    return Division("as listed", tuple(splits), np.asarray(assigned, np.intp))


def stratified(
    patches: PatchSet, splits: Sequence[str], ratios: Sequence[float], seed: int
) -> Division:
    """Returns splits with the label distribution of the whole.

    Args:
        patches: with labels.
        splits: names.
        ratios: of the splits; they sum to 1.
        seed: see `stratification.stratify`.

    Raises:
        ValueError: as there, or a split stays empty.
    """
    assigned = stratification.stratify(patches.multi_hot, ratios, seed)
    division = Division(
        "iterative stratification", tuple(splits), assigned, tuple(ratios)
    )
    if not division.sizes.all():
        raise ValueError(
            f"{len(patches)} patches are so few that split "
            f"{splits[int(division.sizes.argmin())]!r} stays empty: ask for fewer "
            "splits"
        )
    return division


def by_blocks(
    patches: PatchSet,
    splits: Sequence[str],
    ratios: Sequence[float],
    block_km: float,
    seed: int,
) -> Division:
    """Returns splits of whole blocks of land.

    Args:
        patches: whose places are known.
        splits: names.
        ratios: of the splits; they sum to 1.
        block_km: side of the blocks.
        seed: see `spatial.divide_blocks`.

    Raises:
        ValueError: as `spatial.block_numbers` and `spatial.divide_blocks`.
    """
    blocks = spatial.block_numbers(patches.places(), block_km)
    assigned = spatial.divide_blocks(blocks, patches.multi_hot, ratios, seed)
    method = f"blocks of {block_km:g} km"
    return Division(method, tuple(splits), assigned, tuple(ratios))
