"""Ways to divide patches into splits, each with the names of its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.archive import metadata, spatial, splits, stratification
from bigearthnet_tf.archive.patch_set import PatchSet

Entry = TypeVar("Entry")


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


def split_names(given: Sequence[str] | None, number: int, folds: bool) -> list[str]:
    """Returns the names of splits that are made.

    Args:
        given: by the user; None for the usual ones.
        number: how many splits there are.
        folds: whether they are folds, which have numbers.

    Raises:
        ValueError: another number of names, or one that no list can have.
    """
    if given is None:
        usual = {2: ["train", "test"], 3: ["train", "val", "test"]}
        if not folds and number in usual:
            return usual[number]
        return [f"fold_{index}" for index in range(number)]
    if len(given) != number or len(set(given)) != len(given):
        raise ValueError(f"expected {number} different --names, got {' '.join(given)}")
    for name in given:
        if splits.split_name(f"{name}.csv") != name or name == "report":
            raise ValueError(
                f"{name!r} can't be the name of a split: its list is {name}.csv, and "
                "splits are named like their list up to the first dot"
            )
    return list(given)


def join_folds(folds: Sequence[Sequence[Entry]]) -> dict[str, list[Entry]]:
    """Returns `train`, `val` and `test` made of folds: the last fold is the test.

    The last but one is `val`. Of five that is 60, 20 and 20 percent, as in the lists
    of balanced-bigearthnet.

    Args:
        folds: what is in each; of fewer than three nothing is made.
    """
    if len(folds) < len(metadata.SPLITS):
        return {}
    *training, validation, test = folds
    return {
        "train": [entry for fold in training for entry in fold],
        "val": list(validation),
        "test": list(test),
    }


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
    named = [name for name in metadata.SPLITS if name in present]
    named += [name for name in present if name not in named]
    numbers = {name: index for index, name in enumerate(named)}
    assigned = own.map(numbers)
    return Division("as listed", tuple(named), np.asarray(assigned, np.intp))


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
