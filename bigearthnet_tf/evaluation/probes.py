"""Probes: what can be told from features that are there, with few or many labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bigearthnet_tf.archive import ground
from bigearthnet_tf.evaluation.pixel_features import Labelled
from bigearthnet_tf.metrics import pixels as metrics

# The size of scikit-learn's forest, which is that of btfm as well.
TREES = 100
# (features, classes, features to tell, seed) -> classes
Probe = Callable[[Any, Any, Any, int], NDArray[np.int64]]


def linear_probe(x: Any, y: Any, asked: Any, seed: int) -> NDArray[np.int64]:
    """Returns what a logistic regression on standardised features tells.

    Args:
        x: (n, d) features to learn from.
        y: (n,) their classes.
        asked: (m, d) features.
        seed: not used: the regression has one solution.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    # Its products are too small for several threads, which would wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        # Near its solution is near enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    return np.asarray(model.predict(asked), np.int64)


def random_forest(x: Any, y: Any, asked: Any, seed: int) -> NDArray[np.int64]:
    """Returns what a random forest tells; arguments as for `linear_probe`."""
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1)
    return np.asarray(forest.fit(x, y).predict(asked), np.int64)


def draw(classes: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Returns rows with so many of each class; all of a class that has fewer.

    Args:
        classes: (n,).
        count: of each.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(classes == each))[:count]
        for each in np.unique(classes)
    ]
    return np.sort(np.concatenate(rows))


def score(truth: Any, told: Any, num_classes: int) -> dict[str, float]:
    """Returns the metrics of classes that were told."""
    return overall(metrics.confusion(truth, told, num_classes))


def overall(confused: NDArray[np.int64]) -> dict[str, float]:
    """Returns the metrics over all classes of a confusion matrix, rows the truth.

    `overall_accuracy`, `balanced_accuracy`, `macro_f1`, `weighted_f1`, `mean_iou`,
    `kappa`.
    """
    report = metrics.pixel_report(confused)
    true = np.asarray(confused).sum(axis=1)
    f1 = np.array([report[f"f1_class{j}"] for j in range(len(true))])
    return {
        "overall_accuracy": report["pixel_accuracy"],
        "balanced_accuracy": report["balanced_accuracy"],
        "macro_f1": report["macro_f1"],
        "weighted_f1": float((true * f1).sum() / max(1, true.sum())),
        "mean_iou": report["mean_iou"],
        "kappa": report["kappa"],
    }


def label_efficiency(
    features: Mapping[str, tuple[Labelled, Labelled, Probe]],
    counts: Sequence[int],
    repeats: int,
    num_classes: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each kind of features and number of labels a class.

    All kinds learn from the same pixels.

    Args:
        features: name of a kind to its training and test pixels, and its probe.
        counts: labels a class.
        repeats: draws of them.
        num_classes: in all.
        seed: of the draws.

    Yields:
        `features`, `labels` a class, `drawn` in all, and of each metric of `overall`
        its mean, and `<metric>_std` over the draws.
    """
    for name, (train, test, probe) in features.items():
        for count in counts:
            found = []
            for number in range(repeats):
                rows = draw(train.classes, count, seed + number)
                told = probe(
                    train.features[rows],
                    train.classes[rows],
                    test.features,
                    seed + number,
                )
                found.append(score(test.classes, told, num_classes))
            row: dict[str, Any] = {
                "features": name,
                "labels": count,
                "drawn": len(rows),
            }
            for metric in found[0]:
                values = np.array([each[metric] for each in found])
                row[metric] = float(values.mean())
                row[f"{metric}_std"] = float(values.std())
            yield row


def spatial_folds(
    pixels: Labelled,
    tiles: Sequence[ground.Placed],
    folds: int,
    block_size: int,
    num_classes: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Returns a row for each fold of a cross-validation by spatial blocks.

    All pixels of a block are on one side, in whatever tiles they are, so that no pixel
    is predicted from its neighbours or from itself in another tile.

    Args:
        pixels: of a split.
        tiles: that their places count.
        folds: number of them.
        block_size: pixels a side of a block.
        num_classes: in all.
        seed: of the probes.

    Returns:
        `fold`, `blocks`, `pixels` and the metrics of `overall`.

    Raises:
        ValueError: fewer blocks than folds.
    """
    groups = ground.block_numbers(tiles, pixels.places, block_size)
    blocks = int(groups.max()) + 1
    if blocks < folds:
        raise ValueError(
            f"spatial_folds {folds}: the test pixels lie in {blocks} blocks of "
            f"{block_size} pixels a side; lower spatial_folds or spatial_block_size"
        )
    rows = []
    splits = GroupKFold(folds).split(pixels.features, pixels.classes, groups)
    for number, (learnt, asked) in enumerate(splits):
        x, y = pixels.features, pixels.classes
        if len(np.unique(y[learnt])) < 2:
            raise ValueError(
                f"spatial_folds {folds}: but one class is left to learn from in fold "
                f"{number}; lower spatial_block_size"
            )
        told = linear_probe(x[learnt], y[learnt], x[asked], seed)
        rows.append(
            {
                "fold": number,
                "blocks": len(np.unique(groups[asked])),
                "pixels": len(asked),
                **score(y[asked], told, num_classes),
            }
        )
    return rows
