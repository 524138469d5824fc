"""How much metrics vary with the samples: bootstrap, by resampling patches.

A round draws as many samples as there are, with replacement. Every metric is computed
exactly as `multi_label_report` would of the drawn samples, but from the number of times
that each sample was drawn: nothing is sorted again, and rounds go through matrix
products. The same seed and number of samples give the same draws, so that the
differences of two models on the same patches, round by round, are those of a paired
bootstrap.

A label whose positives are all left out by a round has an average precision of 0 in it,
as everywhere here: intervals of rare labels, and of macro means with such, reach low.
Otherwise resampled average precisions of rare labels run a little high: a positive that
is drawn twice ranks beside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bigearthnet_tf.metrics import conventions, counts, multi_label, ranking

# Numbers in the draws of a block of rounds, 32 MB, and the most rounds in one.
_BLOCK, _MOST_ROUNDS = 1 << 23, 64
# Runs of equal scores at once: working arrays of 2 MB stay in the cache.
_RUNS = 1 << 12
_AREAS = ("average_precision", "auroc")

Replicates = dict[str, NDArray[np.float64]]


def replicates(
    labels: Any,
    scores: Any,
    threshold: float | np.ndarray = 0.5,
    *,
    rounds: int = 1000,
    seed: int = 42,
    areas: bool = True,
    progress: Callable[[Iterator[Any]], Any] = iter,
) -> Replicates:
    """Returns metrics of resampled patches.

    Memory: 16 bytes for each pair of sample and label while the rankings are held, a
    few arrays of `_BLOCK` numbers, and the result. Peak and time for 125,866 x 43 are
    in `benchmarks/results/metrics.md`.

    Args:
        labels: (samples, labels) of 0 and 1.
        scores: (samples, labels) probabilities.
        threshold: one number, or one per label; a label is predicted from it on.
        rounds: how many; at least 1.
        seed: of the draws.
        areas: average precision and ROC area too, which take nearly all of the time.
        progress: wraps the iterator over the `num_blocks` blocks of rounds, to show a
            bar.

    Returns:
        (rounds,) of every metric of `multi_label_report` but calibration errors, and of
        `macro_*_class<j>`, `average_precision_class<j>` and `auroc_class<j>`, by the
        names there.

    Raises:
        ValueError: as `multi_label_report`, or no round.
    """
    if rounds < 1:
        raise ValueError(f"expected at least one round of resampling, got {rounds}")
    truth, scores = multi_label.checked(labels, scores)
    limit = multi_label.checked_threshold(threshold, truth.shape[1])
    resampled = _Resampled(truth, scores, scores >= limit)
    curves = _curves(truth, scores) if areas else []
    blocks = [
        resampled.measure(drawn, curves)
        for drawn in progress(draws(len(truth), rounds, seed))
    ]
    return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}


def micro_average_precision(
    labels: Any, scores: Any, *, rounds: int = 1000, seed: int = 42
) -> NDArray[np.float64]:
    """Returns the micro average precision of resampled patches alone, (rounds,).

    As in `replicates`, in half of its time.
    """
    truth, scores = multi_label.checked(labels, scores)
    curve = _Curve(truth.ravel(), scores.ravel(), len(truth))
    found = [curve.areas(drawn)[0] for drawn in draws(len(truth), rounds, seed)]
    return np.concatenate(found)


def draws(samples: int, rounds: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yields how often each sample is drawn, in blocks (samples, some rounds).

    The draws don't depend on the size of the blocks.

    Args:
        samples: to draw from, and to draw each round.
        rounds: in all.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    size = _block_rounds(samples)
    for first in range(0, rounds, size):
        drawn = np.empty((samples, min(size, rounds - first)), np.float32)
        for each in drawn.T:
            each[:] = np.bincount(rng.integers(0, samples, samples), minlength=samples)
        yield drawn


def num_blocks(samples: int, rounds: int) -> int:
    """Returns the number of blocks that the rounds are worked on in."""
    return -(-rounds // _block_rounds(samples))


def _block_rounds(samples: int) -> int:
    return int(np.clip(_BLOCK // samples, 1, _MOST_ROUNDS))


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Returns the range that holds a share of the replicates, by percentiles.

    Args:
        values: (rounds,).
        level: the share.
    """
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def intervals(found: Replicates, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Returns the interval of every metric; see `interval`."""
    return {name: interval(values, level) for name, values in found.items()}


class _Resampled:
    """Predictions whose metrics are asked for with weights.

    Args:
        truth: (samples, labels) bool.
        scores: likewise, float64.
        predicted: likewise, bool.
    """

    def __init__(
        self, truth: np.ndarray, scores: np.ndarray, predicted: np.ndarray
    ) -> None:
        self.num_labels = truth.shape[1]
        tables = (truth & predicted, predicted, truth)
        # float32 holds the sums exactly: whole numbers of up to 16.7 million samples.
        self._tables = np.concatenate(tables, axis=1).astype(np.float32)
        hits, given, actual = (table.sum(axis=1) for table in tables)
        own = counts.measures(hits, given, actual, self.num_labels)
        each = {f"sample_{name}": values for name, values in own.items()}
        each["hamming_loss"] = (truth != predicted).mean(axis=1)
        each["subset_accuracy"] = (truth == predicted).all(axis=1).astype(float)
        each["label_cardinality"] = truth.sum(axis=1).astype(float)
        each |= ranking.sample_ranking(truth, scores)
        each["brier_score"] = ((scores - truth) ** 2).mean(axis=1)
        self._names = list(each)
        self._per_sample = np.stack(list(each.values()), axis=1)

    def measure(self, drawn: NDArray[np.float32], curves: list[_Curve]) -> Replicates:
        """Returns all metrics of a block of rounds, (rounds,) each."""
        samples = len(drawn)
        sums = (drawn.T @ self._tables).astype(np.float64)
        hits, given, actual = np.split(sums, 3, axis=1)
        by_label = counts.measures(hits, given, actual, samples)
        pooled = counts.measures(
            hits.sum(axis=1),
            given.sum(axis=1),
            actual.sum(axis=1),
            samples * self.num_labels,
        )
        means = drawn.T.astype(np.float64) @ self._per_sample / samples
        found = dict(zip(self._names, means.T, strict=True))
        found |= {f"micro_{name}": values for name, values in pooled.items()}
        if curves:
            areas = np.stack([curve.areas(drawn) for curve in curves], axis=2)
            for name, each in zip(_AREAS, areas, strict=True):
                found[f"micro_{name}"] = each[:, -1]
                by_label[name] = each[:, :-1]
        for name, each in by_label.items():
            found[conventions.averaged(name, "macro")] = each.mean(axis=1)
            stem = name if name in _AREAS else f"macro_{name}"
            found |= {f"{stem}_class{j}": column for j, column in enumerate(each.T)}
        weighted = counts.weighted(by_label, actual)
        return found | {f"weighted_{name}": each for name, each in weighted.items()}


def _curves(truth: np.ndarray, scores: np.ndarray) -> list[_Curve]:
    """Returns the curve of each label and, last, that of all pairs."""
    own = [_Curve(t, s, len(truth)) for t, s in zip(truth.T, scores.T, strict=True)]
    return [*own, _Curve(truth.ravel(), scores.ravel(), len(truth))]


class _Curve:
    """One ranking of pairs of sample and label, sorted once.

    Only the runs of equal scores that hold a positive count: with tp and all counted
    down to the end of a run, average precision is the sum over them of
    d(tp) tp / (all P), and the ROC area that of d(tp) (N - mean of fp before and after)
    / (P N). How often the pairs of all runs were drawn is a product with a sparse
    matrix that has a row for each stretch between their edges.

    Args:
        truth: (pairs,) bool, all labels of a sample after one another.
        scores: (pairs,).
        samples: number of samples.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray, samples: int) -> None:
        order = np.argsort(scores)[::-1]
        ranked, has = scores[order], truth[order]
        sample_of = (order // (len(truth) // samples)).astype(np.int32)
        first = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
        last = np.append(first[1:], len(ranked))
        positives = np.flatnonzero(has)
        run_of = np.searchsorted(first, positives, side="right") - 1
        present, opening = np.unique(run_of, return_index=True)
        opening = np.append(opening, len(positives))
        self.pairs = len(truth)
        self._pieces: list[_Piece] = []
        done = 0
        for start in range(0, len(present), _RUNS):
            runs = present[start : start + _RUNS]
            starts, ends = first[runs], last[runs]
            edges = np.unique(np.concatenate([[done], starts, ends]))
            own = opening[start : start + len(runs) + 1]
            self._pieces.append(
                _Piece(
                    _rows(sample_of, edges, samples),
                    _rows(sample_of[positives], own, samples),
                    np.searchsorted(edges, starts),
                    np.searchsorted(edges, ends),
                )
            )
            done = ends[-1]

    def areas(self, drawn: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns average precision and ROC area of each round, (2, rounds)."""
        rounds = drawn.shape[1]
        above, hits = np.zeros(rounds), np.zeros(rounds)
        precisions, misses = np.zeros(rounds), np.zeros(rounds)
        for piece in self._pieces:
            stretches = (piece.stretches @ drawn).astype(np.float64)
            down = np.concatenate([above[None], stretches]).cumsum(axis=0)
            steps = (piece.positives @ drawn).astype(np.float64)
            found = np.concatenate([hits[None], steps]).cumsum(axis=0)
            at_end, at_start = down[piece.ends], down[piece.starts]
            # A run of which nothing was drawn adds nothing, whatever its precision.
            precisions += (steps * counts.ratio(found[1:], at_end)).sum(axis=0)
            misses += (steps * (at_end + at_start - found[1:] - found[:-1])).sum(axis=0)
            above, hits = down[-1], found[-1]
        ordered = hits * (self.pairs - hits) - misses / 2
        return np.stack(
            [
                counts.ratio(precisions, hits),
                counts.ratio(ordered, hits * (self.pairs - hits)),
            ]
        )


@dataclass(frozen=True)
class _Piece:
    """Some runs of equal scores that hold a positive.

    Attributes:
        stretches: (stretches, samples) pairs between the edges of these runs.
        positives: (runs, samples) positives of the runs.
        starts: (runs,) stretches above each run, 0 being what is above the piece.
        ends: (runs,) likewise down to its end.
    """

    stretches: sparse.csr_array
    positives: sparse.csr_array
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def _rows(
    sample_of: NDArray[np.int32], edges: NDArray[np.int64], samples: int
) -> sparse.csr_array:
    """Returns a matrix that adds up what lies between edges, (edges - 1, samples)."""
    inside = sample_of[edges[0] : edges[-1]]
    ones = np.ones(len(inside), np.float32)
    return sparse.csr_array(
        (ones, inside, (edges - edges[0]).astype(np.int32)), (len(edges) - 1, samples)
    )
