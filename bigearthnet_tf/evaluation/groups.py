"""Results by country, season and tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import metrics
from bigearthnet_tf.archive import metadata, names
from bigearthnet_tf.evaluation.predictions import Predictions
from bigearthnet_tf.metrics import bootstrap

Row = dict[str, Any]

_SEASONS = ("Winter", "Spring", "Summer", "Fall")


def find(
    predictions: Predictions, tables: Sequence[Path | str] = ()
) -> dict[str, list[str]]:
    """Returns which group each patch belongs to, by kind of grouping.

    The season is that of the date in the name, the tile that of a v2 name or of the
    Sentinel-1 partner, the country that of the metadata of v2. Kinds of which nothing
    is known are left out; an empty text stands for a patch of which it is not known.

    Args:
        predictions: whose patches.
        tables: parquet files of the metadata of v2.

    Raises:
        FileNotFoundError: no such table.
        ValueError: a wrong table, or none of the patches is in it.
    """
    partners = predictions.names_s1 or [""] * len(predictions)
    said = [_said(*pair) for pair in zip(predictions.names, partners, strict=True)]
    found = {
        "season": [season for season, _ in said],
        "tile": [tile for _, tile in said],
    }
    if tables:
        found = {"country": _countries(predictions.names, tables), **found}
    return {kind: groups for kind, groups in found.items() if any(groups)}


def _said(name: str, partner: str) -> tuple[str, str]:
    """Returns season and tile of a patch as its names tell, or empty texts."""
    season, tile = "", ""
    for text in (name, partner):
        try:
            parsed = names.parse_name(text)
        except ValueError:
            continue
        season = season or names.season(parsed.acquired)
        tile = tile or parsed.tile or ""
    return season, tile


def _countries(patches: Sequence[str], tables: Sequence[Path | str]) -> list[str]:
    frame = metadata.read_tables(tables)
    where = " and ".join(map(str, tables))
    if "country" not in frame:
        raise ValueError(f"{where}: expected a column country, it is missing")
    known: dict[str, str] = {}
    for column in ("s2v1_name", "patch_id"):
        if column in frame:
            known |= dict(zip(frame[column], frame["country"], strict=True))
    found = [known.get(name, "") for name in patches]
    if not any(found):
        raise ValueError(
            f"{where}: none of the {len(patches)} evaluated patches is in this "
            f"metadata, the first is {patches[0]}; give the table of their archive"
        )
    return found


def measure(
    predictions: Predictions,
    kinds: Mapping[str, Sequence[str]],
    rounds: int = 0,
    seed: int = 42,
) -> list[Row]:
    """Returns a row for each group, the largest of each kind first.

    Of labels that no patch of a group has nothing can be said there: the macro means
    are over the labels that are present.

    Args:
        predictions: of all patches.
        kinds: of `find`.
        rounds: of the bootstrap for the micro average precision of countries and
            seasons; 0 for none. Tiles are many and small and get none.
        seed: of the bootstrap.

    Returns:
        Rows of kind, group, patches, labels_present, and metrics at 0.5; None where a
        group has no label at all.
    """
    rows = []
    for kind, of in kinds.items():
        members = np.array(of)
        sizes = {g: int((members == g).sum()) for g in sorted(set(of) - {""})}
        for group in sorted(sizes, key=lambda group: _order(kind, group, sizes)):
            own = np.flatnonzero(members == group)
            some = rounds if kind != "tile" else 0
            found = _measure(predictions.labels[own], predictions.scores[own])
            low, high = _interval(predictions, own, some, seed)
            rows.append(
                {"kind": kind, "group": group, **found, "micro_ap_low": low}
                | {"micro_ap_high": high}
            )
    return rows


def _order(kind: str, group: str, sizes: Mapping[str, int]) -> tuple[int, str]:
    if kind == "season":
        return _SEASONS.index(group), group
    return -sizes[group], group


def _measure(labels: NDArray[np.uint8], scores: NDArray[np.float32]) -> Row:
    report = metrics.multi_label_report(labels, scores)
    present = np.flatnonzero(labels.any(axis=0))

    def mean(stem: str) -> float | None:
        values = [report[f"{stem}_class{j}"] for j in present]
        return float(np.mean(values)) if values else None

    some = len(present) > 0
    return {
        "patches": len(labels),
        "labels_present": len(present),
        "micro_average_precision": report["micro_average_precision"] if some else None,
        "macro_average_precision_present": mean("average_precision"),
        "micro_f1_score": report["micro_f1_score"] if some else None,
        "macro_f1_score_present": mean("macro_f1_score"),
    }


def _interval(
    predictions: Predictions, own: NDArray[np.int64], rounds: int, seed: int
) -> tuple[float | None, float | None]:
    labels, scores = predictions.labels[own], predictions.scores[own]
    if not rounds or not labels.any():
        return None, None
    # All pairs as one label: the micro curve alone is resampled.
    found = bootstrap.micro_average_precision(labels, scores, rounds=rounds, seed=seed)
    return bootstrap.interval(found)
