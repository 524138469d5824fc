"""Splits with the label distribution of the whole, and random ones to compare with.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of
Multi-Label Data", ECML PKDD) as the package iterative-stratification computes it:
patches of the rarest label that is left go, one by one, to the split that lacks that
label most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Of the seeds of `numpy.random.RandomState`, whose draws iterstrat takes.
MAX_SEED = 2**32 - 1


def stratify(
    multi_hot: NDArray[np.uint8], ratios: Sequence[float], seed: int
) -> NDArray[np.intp]:
    """Returns the split of each patch, by iterative stratification.

    With k equal ratios the splits are the folds of
    `MultilabelStratifiedKFold(n_splits=k, shuffle=True, random_state=seed)`, which
    balanced-bigearthnet calls with seed 0. They depend on the order of the rows and,
    where two labels are equally rare, on that of the columns. The sizes come out near
    the ratios, not equal to them: labels go first.

    Half a million patches take some 10 seconds and 100 MB beside the argument, which
    is left as it is.

    Args:
        multi_hot: (patches, labels) of 0 and 1.
        ratios: of the splits; they sum to 1.
        seed: 0 to `MAX_SEED`.

    Returns:
        (patches,) indices into `ratios`.

    Raises:
        ValueError: no label, fewer patches than splits, or ratios or seed out of their
            range.
    """
    check_ratios(ratios)
    check_seed(seed)
    patches, labels = multi_hot.shape
    if labels == 0:
        raise ValueError("expected at least one label to stratify by, got none")
    check_enough(patches, "patches", len(ratios))
    random = np.random.RandomState(seed)
    order = np.arange(patches)
    random.shuffle(order)
    shuffled = multi_hot[order].astype(bool)
    assigned = np.empty(patches, np.intp)
    # It brings scikit-learn along, which commands that divide nothing should not wait
    # for.
    from iterstrat.ml_stratifiers import IterativeStratification

    assigned[order] = IterativeStratification(shuffled, np.asarray(ratios), random)
    return assigned


def shuffle(sizes: Sequence[int], seed: int) -> NDArray[np.intp]:
    """Returns the split of each patch in a random division into splits of given sizes.

    Args:
        sizes: patches of each split.
        seed: 0 to `MAX_SEED`.

    Returns:
        (sum of `sizes`,) indices into `sizes`.

    Raises:
        ValueError: the seed is out of its range.
    """
    check_seed(seed)
    ordered = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.RandomState(seed).permutation(ordered)


def check_ratios(ratios: Sequence[float], whole: float = 1) -> None:
    """Raises ValueError unless there are two ratios or more, above 0, with that sum."""
    listed = " ".join(f"{ratio:g}" for ratio in ratios)
    if len(ratios) < 2:
        raise ValueError(f"expected the ratios of two splits or more, got {listed!r}")
    # Written so that NaN is refused too.
    if not all(ratio > 0 for ratio in ratios):
        raise ValueError(f"expected ratios above 0, got {listed}")
    total = sum(ratios)
    if not abs(total - whole) < 1e-6 * whole:
        raise ValueError(
            "expected ratios that sum to 1, such as 0.6 0.2 0.2, or to 100, but "
            f"{listed} sum to {total:g}"
        )


def check_seed(seed: int) -> None:
    """Raises ValueError unless `numpy.random.RandomState` takes the seed."""
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"expected a seed from 0 to {MAX_SEED}, got {seed}")


def check_enough(number: int, what: str, splits: int) -> None:
    """Raises ValueError if there are fewer things to divide than splits."""
    if number < splits:
        raise ValueError(
            f"expected at least one of the {what} for each of {splits} splits, but "
            f"there are {number}: ask for fewer splits"
        )
