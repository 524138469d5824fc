"""What becomes of the scores of a scene: themselves, the best label, or a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.serving import chosen_thresholds
from bigearthnet_tf.serving.windows import WindowModel

# Of maps of uint8; there are at most 43 labels, and 250 steps of a score.
NODATA = 255
STEPS = 250

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Product:
    """A map that is made of scores.

    Attributes:
        title: of it, in a line for the user.
        make: from scores (labels, rows, columns), NaN where there are none, to
            (bands, rows, columns).
        descriptions: of the bands.
        dtype: of the map.
        nodata: of the map.
        key: what tells it from others, as JSON has it.
        colours: red, green and blue by value.
        scales: from stored to meant numbers.
        has_flags: whether values are 0 and 1.
        tags: of the file.
    """

    title: str
    make: Callable[[Scores], NDArray[Any]]
    descriptions: Sequence[str]
    dtype: str
    nodata: float
    key: Sequence[Any]
    colours: Mapping[int, tuple[int, int, int]] | None = None
    scales: Sequence[float] = ()
    has_flags: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


def choose(model: WindowModel, options: Mapping[str, Any], run: Path) -> Product:
    """Returns the map that the options ask for.

    Args:
        model: whose labels it is of.
        options: `output`, `dtype` and `thresholds`, as far as they are given.
        run: whose tuned thresholds are meant.

    Raises:
        FileNotFoundError: the thresholds are not there.
        ValueError: thresholds of something else, or an option that does not go with
            the output.
    """
    output = options.get("output", "best")
    for name, only in (("dtype", "scores"), ("thresholds", "labels")):
        if name in options and output != only:
            raise ValueError(
                f"--{name} is for --output {only} alone, the output is {output}"
            )
    if output == "best":
        return _best(model)
    if output == "scores":
        return _scores(model, options.get("dtype", "float32"))
    given = chosen_thresholds.find(
        options.get("thresholds", "0.5"), run, model.labels, model.fingerprint
    )
    return _labels(model, given)


def _best(model: WindowModel) -> Product:
    def make(scores: Scores) -> NDArray[Any]:
        none = np.isnan(scores[:1])
        best = np.where(none, 0, scores).argmax(axis=0)[None]
        return np.where(none, NODATA, best).astype(np.uint8)

    names = {f"CLASS_{n}": name for n, name in enumerate(model.labels)}
    return Product(
        title=f"best of {len(model.labels)} labels",
        make=make,
        descriptions=["best label"],
        dtype="uint8",
        nodata=NODATA,
        key=["best"],
        colours={n: _rgb(colour) for n, colour in enumerate(model.colours)},
        tags=names,
    )


def _scores(model: WindowModel, dtype: str) -> Product:
    common: dict[str, Any] = {
        "title": f"scores of {len(model.labels)} labels",
        "descriptions": model.labels,
        "dtype": dtype,
        "key": ["scores", dtype],
    }
    if dtype == "float32":
        return Product(make=lambda scores: scores, nodata=np.nan, **common)

    def make(scores: Scores) -> NDArray[Any]:
        steps = np.rint(np.where(np.isnan(scores), 0, scores) * STEPS)
        return np.where(np.isnan(scores), NODATA, steps).astype(np.uint8)

    scales = [1 / STEPS] * len(model.labels)
    return Product(make=make, nodata=NODATA, scales=scales, **common)


def _labels(model: WindowModel, thresholds: NDArray[np.float64]) -> Product:
    limits = thresholds[:, None, None]

    def make(scores: Scores) -> NDArray[Any]:
        flags = (scores >= limits).astype(np.uint8)
        return np.where(np.isnan(scores), np.uint8(NODATA), flags)

    return Product(
        title=f"which of {len(model.labels)} labels pass their threshold",
        make=make,
        descriptions=model.labels,
        dtype="uint8",
        nodata=NODATA,
        key=["labels", thresholds.tolist()],
        has_flags=True,
        tags={"THRESHOLDS": " ".join(f"{value:.6g}" for value in thresholds)},
    )


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
