"""Scores of a split beside its labels, and the file that keeps them.

`eval_scores.npz` in the folder of a run has the arrays `names`, `label_order`, `labels`
and `scores` in the order of the records, and since thresholds and comparisons go by
them also `names_s1`, `split`, `iteration` and `fingerprint`. Whoever has scores from
elsewhere may write the first four and have them evaluated. Nothing in it is pickled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import arrays, files

FILE = "eval_scores.npz"
_OTHER = "scores of "
# Kinds of dtype and dimensions of each array.
_FORMS = {
    "names": ("U", 1),
    "names_s1": ("U", 1),
    "label_order": ("U", 1),
    "labels": ("buif", 2),
    "scores": ("f", 2),
    "split": ("U", 0),
    "iteration": ("iu", 0),
    "fingerprint": ("U", 0),
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of the patches of a split.

    Attributes:
        names: of the patches.
        label_order: names of the labels.
        labels: uint8 (patches, labels) of 0 and 1.
        scores: float32 (patches, labels), after the sigmoid.
        names_s1: of the Sentinel-1 partners, empty where there are none.
        split: `train`, `val` or `test`; empty where it is not known.
        iteration: of the checkpoint; -1 where it is not known.
        fingerprint: of the weights; see `thresholds.fingerprint`.
        others: scores of baselines on the same patches, by their names.
        where: the file, for messages.
    """

    names: Sequence[str]
    label_order: tuple[str, ...]
    labels: NDArray[np.uint8]
    scores: NDArray[np.float32]
    names_s1: Sequence[str] = ()
    split: str = ""
    iteration: int = -1
    fingerprint: str = ""
    others: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    where: str = "these scores"

    def __post_init__(self) -> None:
        expected = (len(self.names), len(self.label_order))
        for what, array in (("labels", self.labels), ("scores", self.scores)):
            if array.shape != expected or 0 in expected:
                raise ValueError(
                    f"{self.where}: expected {what} of shape (patches, labels) "
                    f"{expected}, of at least one each, got {array.shape}"
                )
        if not ((self.labels == 0) | (self.labels == 1)).all():
            raise ValueError(f"{self.where}: expected labels of 0 and 1, got others")
        wrong = ~((self.scores >= 0) & (self.scores <= 1))  # NaN compares false
        if wrong.any():
            row, label = np.argwhere(wrong)[0]
            raise ValueError(
                f"{self.where}: expected scores in [0, 1], got "
                f"{self.scores[row, label]} for {self.names[row]} (others or NaN for "
                f"{int(wrong.any(axis=1).sum())} patches); logits need a sigmoid "
                "first, patches without a score can't be evaluated"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_labels(self) -> int:
        """Number of labels."""
        return len(self.label_order)

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """Returns the patches of some rows, in their order."""
        partners = [self.names_s1[row] for row in rows] if self.names_s1 else ()
        return dataclasses.replace(
            self,
            names=[self.names[row] for row in rows],
            names_s1=partners,
            labels=self.labels[rows],
            scores=self.scores[rows],
            others={name: scores[rows] for name, scores in self.others.items()},
        )


def save(path: Path | str, predictions: Predictions) -> None:
    """Writes predictions, atomically.

    Raises:
        OSError: the file can't be written.
    """
    content: dict[str, Any] = {
        "names": np.array(predictions.names),
        "names_s1": np.array(list(predictions.names_s1), str),
        "label_order": np.array(predictions.label_order),
        "labels": predictions.labels.astype(np.uint8),
        "scores": predictions.scores,
        "split": np.array(predictions.split),
        "iteration": np.array(predictions.iteration),
        "fingerprint": np.array(predictions.fingerprint),
    }
    content |= {f"{_OTHER}{name}": s for name, s in predictions.others.items()}
    with files.write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)


def load(path: Path | str) -> Predictions:
    """Reads predictions.

    Args:
        path: the file, or the folder of a run that was evaluated.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such file, is damaged, or holds what can't be scores.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no scores of a classification in this folder; evaluate the "
                "run first: python eval.py CONFIG"
            )
    if path.suffix != ".npz":  # which is a zip itself
        files.check_unpacked(path, "scores as eval.py writes them")
    try:
        stored = arrays.read_npz(
            path, "scores as eval.py writes them", "evaluate the run again"
        )
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; eval.py leaves {FILE} in the folder of a run"
        ) from None
    missing = [
        name
        for name in ("names", "label_order", "labels", "scores")
        if name not in stored
    ]
    if missing:
        raise ValueError(
            f"{path}: expected arrays names, label_order, labels and scores, but "
            f"{', '.join(missing)} is missing"
        )
    others = [name for name in stored if name.startswith(_OTHER)]
    for name, (kinds, dimensions) in (
        _FORMS | dict.fromkeys(others, _FORMS["scores"])
    ).items():
        if name in stored:
            arrays.take(stored, name, kinds, dimensions, path)
    return Predictions(
        names=stored["names"].tolist(),
        label_order=tuple(stored["label_order"].tolist()),
        labels=stored["labels"],
        scores=stored["scores"],
        names_s1=stored.get("names_s1", np.array([], str)).tolist(),
        split=str(stored.get("split", "")),
        iteration=int(stored.get("iteration", -1)),
        fingerprint=str(stored.get("fingerprint", "")),
        others={name.removeprefix(_OTHER): stored[name] for name in others},
        where=str(path),
    )


def align(found: Predictions, other: Predictions) -> Predictions:
    """Returns predictions in the order of others on the same patches and labels.

    Args:
        found: what is put in order.
        other: whose order, labels and truth are taken.

    Raises:
        ValueError: other labels, another order of them, other patches, or another
            truth of a patch; the message names the first.
    """
    pair = f"{found.where} and {other.where}"
    if found.label_order != other.label_order:
        differing = [
            f"label {j} is {mine!r} in one and {theirs!r} in the other"
            for j, (mine, theirs) in enumerate(
                zip(found.label_order, other.label_order, strict=False)
            )
            if mine != theirs
        ]
        counts = f"{len(found.label_order)} and {len(other.label_order)} labels"
        raise ValueError(
            f"{pair} are of other labels: {differing[0] if differing else counts}"
        )
    rows = _rows(found, other, pair)
    ordered = found.take(rows)
    wrong = (ordered.labels != other.labels).any(axis=1)
    if wrong.any():
        raise ValueError(
            f"{pair} disagree on the true labels of {int(wrong.sum())} patches, the "
            f"first is {other.names[int(wrong.argmax())]}: they come from different "
            "records"
        )
    return ordered


def _rows(found: Predictions, other: Predictions, pair: str) -> NDArray[np.int64]:
    """Returns the row in `found` of each patch of `other`."""
    if list(found.names) == list(other.names):
        return np.arange(len(found))
    place = {name: row for row, name in enumerate(found.names)}
    wanted = set(other.names)
    for one, names, has in (
        (other, other.names, place.keys()),
        (found, found.names, wanted),
    ):
        lacking = [name for name in names if name not in has]
        if lacking:
            raise ValueError(
                f"{pair} are of different patches ({len(found)} of split "
                f"{found.split or '?'} and {len(other)} of split "
                f"{other.split or '?'}): {lacking[0]} and {len(lacking) - 1} more are "
                f"in {one.where} alone; score the same records"
            )
    if len(place) != len(found) or len(wanted) != len(other):
        raise ValueError(f"{pair} hold a patch more than once, in another order")
    return np.array([place[name] for name in other.names])
