"""A quantity at points from their embeddings: fitted and tested on blocks apart.

Every point is predicted by a model that has seen none of its block of land, since
neighbours are alike whatever the model knows; the mean of the others is what a model
has to beat. With random forests the importance of each band is that of a model of all
points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import (
    mean_absolute_error,
    mean_squared_error,
    median_absolute_error,
    r2_score,
)
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigearthnet_tf import files, outputs, pictures, tables
from bigearthnet_tf.archive import ground
from bigearthnet_tf.evaluation import generated, regression_plots

EMBEDDING = "embedding_"
MODELS = ("forest", "ridge")
# Strengths of the penalty that are tried within the training part, standardised bands.
_PENALTIES = np.logspace(-3, 5, 17)
_TREES = 100  # as btfm has
_LONLAT = (("lon", "longitude"), ("lat", "latitude"))


@dataclass(frozen=True)
class Sites:
    """Points with embeddings and a quantity.

    Attributes:
        table: as it was read, without points that lack the quantity.
        embeddings: (points, dimensions).
        target: (points,).
        blocks: (points,) number of the block of land.
        dropped: points without the quantity.
    """

    table: pd.DataFrame
    embeddings: NDArray[np.float64]
    target: NDArray[np.float64]
    blocks: NDArray[np.int64]
    dropped: int


def read(path: Path, target: str, block_km: float, crs: str | None = None) -> Sites:
    """Reads what `bigearthnet-tf points` wrote.

    Args:
        path: CSV or Parquet.
        target: column of the quantity.
        block_km: side of the blocks of land.
        crs: of columns `x` and `y`; None for that of the column `crs`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such column, no embeddings, no place, or fewer than two blocks.
    """
    table = tables.read(path, "a table of `bigearthnet-tf points`")
    columns = [name for name in table.columns if str(name).startswith(EMBEDDING)]
    if not columns:
        raise ValueError(
            f"{path}: has no columns {EMBEDDING}0, ...; expected a table of "
            "`bigearthnet-tf points`"
        )
    missing = {f"{EMBEDDING}{n}" for n in range(len(columns))} - {*columns}
    if missing:
        raise ValueError(f"{path}: lacks {min(missing)}; sample the points again")
    if target in columns:
        raise ValueError(f"{path}: {target} is predicted from; name a quantity")
    if target not in table.columns:
        others = [str(name) for name in table.columns if name not in columns]
        raise ValueError(
            f"{path}: has no column {target!r}; it has {', '.join(others)}"
        )
    values = tables.numbers(table, target, path)
    known = np.isfinite(values)
    if not known.any():
        raise ValueError(f"{path}: column {target!r} has no numbers")
    kept = table[known].reset_index(drop=True)
    embeddings = np.stack(
        [tables.numbers(kept, name, path) for name in columns], axis=1
    )
    if not np.isfinite(embeddings).all():
        raise ValueError(f"{path}: has embeddings that are not finite; sample it again")
    return Sites(
        kept,
        embeddings,
        values[known],
        blocks_of(kept, block_km, str(path), crs),
        int((~known).sum()),
    )


def blocks_of(
    table: pd.DataFrame, side_km: float, where: str, crs: str | None = None
) -> NDArray[np.int64]:
    """Returns the number of the block of land that each point lies in.

    Squares of ground, the same in all tiles that show it: of metres where all points
    have one coordinate system, else of degrees; along a parallel of latitude those are
    counted by its length.

    Args:
        table: with `lon` and `lat`; or `x` and `y`, and `crs` if they are of several
            tiles.
        side_km: of a block.
        where: names the table in a message.
        crs: of `x` and `y`, in place of the column `crs`.

    Raises:
        ValueError: no coordinates, no coordinate system for those of several tiles, or
            fewer than two blocks.
    """
    if not side_km > 0:
        raise ValueError(f"--block-km: expected more than 0, got {side_km}")
    places = {name for names in (*_LONLAT, "xy") for name in names}
    folded = tables.by_plain_names(table, places, where)
    lon, lat = (folded.get(short, folded.get(long)) for short, long in _LONLAT)
    side = side_km * 1000
    if lon is not None and lat is not None:
        east, north = (_places(table, name, where) for name in (lon, lat))
        _check_degrees(east, north, where)
        keys = ground.degree_squares(east, north, side)
    elif "x" in folded and "y" in folded:
        x, y = (_places(table, folded[name], where) for name in "xy")
        keys = _squares_of(x, y, _systems(table, crs, where), side, where)
    else:
        raise ValueError(f"{where}: expected columns lon and lat, or x and y")
    _, numbers = np.unique(keys, axis=1, return_inverse=True)
    if numbers.max() < 1:
        raise ValueError(
            f"{where}: all points lie in one block of {side_km:g} km, so nothing is "
            "left to test on; give a smaller --block-km"
        )
    return numbers.reshape(-1).astype(np.int64)


def _places(table: pd.DataFrame, column: Any, where: str) -> NDArray[np.float64]:
    """Returns coordinates, of which none may be missing."""
    found = tables.numbers(table, column, where)
    missing = int(np.isnan(found).sum())
    if missing:
        raise ValueError(
            f"{where}: expected a place for every point, but {missing} of {len(found)} "
            f"have no {column}: leave them out"
        )
    return found


def _check_degrees(
    lon: NDArray[np.float64], lat: NDArray[np.float64], where: str
) -> None:
    """Refuses what are no degrees, such as metres."""
    for values, most, name in ((lon, 360, "longitudes"), (lat, 90, "latitudes")):
        if (highest := np.abs(values).max()) > most:
            raise ValueError(
                f"{where}: expected {name} of up to {most} degrees, got {highest:g}: "
                "are they metres, or swapped?"
            )


def _systems(table: pd.DataFrame, crs: str | None, where: str) -> NDArray[np.str_]:
    """Returns the coordinate system of each point; empty for one that all share.

    Raises:
        ValueError: points of several tiles, whose systems may differ.
    """
    if crs is not None:
        return np.full(len(table), crs)
    if "crs" in table:
        known = table["crs"].fillna("").astype(str).str.strip()
        if not known.all():
            raise ValueError(
                f"{where}: {int((known == '').sum())} points have no crs; fill the "
                "column, or give the coordinate system of all with --crs"
            )
        return known.to_numpy(str)
    tiles = sorted(table["tile"].astype(str).unique()) if "tile" in table else []
    if len(tiles) > 1:
        raise ValueError(
            f"{where}: x and y of {len(tiles)} tiles ({tiles[0]}, {tiles[1]}, ...) and "
            "no column crs: give the coordinate system with --crs, or lon and lat"
        )
    return np.full(len(table), "")


def _squares_of(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    systems: NDArray[np.str_],
    side: float,
    where: str,
) -> NDArray[np.int64]:
    """Returns row and column of the squares that points lie in, (2, points)."""
    present = sorted(set(systems.tolist()))
    are_degrees = [ground.is_geographic(crs) for crs in present]
    if are_degrees == [False]:
        return np.floor(np.stack([y, x]) / side).astype(np.int64)
    keys = np.empty((2, len(x)), np.int64)
    for crs in present:
        own = systems == crs
        if ground.is_geographic(crs):
            _check_degrees(x[own], y[own], where)
        keys[:, own] = ground.degree_squares(
            *ground.to_lonlat(crs, x[own], y[own]), side
        )
    return keys


def build(model: str, seed: int) -> RegressorMixin:
    """Returns an untrained model.

    Raises:
        ValueError: no such model.
    """
    if model == "forest":
        return RandomForestRegressor(_TREES, random_state=seed, n_jobs=-1)
    if model == "ridge":
        return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
    raise ValueError(f"expected a model of {', '.join(MODELS)}, got {model!r}")


def predict(
    sites: Sites, model: RegressorMixin, folds: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Predicts every point by a model that has not seen its block.

    Args:
        sites: what is known.
        model: untrained; a copy is fitted for each fold.
        folds: parts that the blocks are shared out to; fewer where there are fewer
            blocks.

    Returns:
        Predictions (points,), and the fold of each point.
    """
    folds = min(folds, int(sites.blocks.max()) + 1)
    if folds < 2:
        raise ValueError(f"expected 2 folds or more, got {folds}")
    found = np.empty(len(sites.target))
    fold_of = np.empty(len(sites.target), np.int64)
    parts = GroupKFold(folds).split(sites.embeddings, groups=sites.blocks)
    for number, (train, test) in enumerate(parts):
        fitted = clone(model).fit(sites.embeddings[train], sites.target[train])
        found[test] = fitted.predict(sites.embeddings[test])
        fold_of[test] = number
    return found, fold_of


def errors(
    target: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, float]:
    """Returns the errors of predictions, in the unit of the target, and R2.

    No percentages: they have no meaning where the quantity may be zero.
    """
    return {
        "mae": float(mean_absolute_error(target, predicted)),
        "median_ae": float(median_absolute_error(target, predicted)),
        "rmse": float(np.sqrt(mean_squared_error(target, predicted))),
        "bias": float(np.mean(predicted - target)),
        "r2": float(r2_score(target, predicted)) if len(target) > 1 else 0.0,
    }


def check_outputs(out: Path, table: Path) -> None:
    """Checks that results replace nothing but those of an earlier regression.

    Args:
        out: folder of the results.
        table: that is read.

    Raises:
        ValueError: the table would be replaced.
        OSError: foreign files are there, or the folder can't be written to.
    """
    outputs.check_folder(out, [table])
    columns = outputs.has_columns
    outputs.check_files(
        [
            (out / "regression.json", outputs.has_keys("target", "of_folds")),
            (out / "regression_points.csv", columns("block", "fold", "predicted")),
            (out / "regression_importances.csv", columns("band", "importance")),
            (out / "regression.png", outputs.is_png),
        ],
        [table],
    )


def evaluate(
    sites: Sites, target: str, model: str, folds: int, seed: int, out: Path
) -> dict[str, Any]:
    """Fits, tests and writes `regression.json`, tables and a picture.

    Args:
        sites: what is known.
        target: name of the quantity.
        model: of `MODELS`.
        folds: see `predict`.
        seed: of a forest.
        out: folder to write to.

    Returns:
        The content of `regression.json`.

    Raises:
        ValueError: an unknown model, or too few folds.
        OSError: the folder can't be written to.
    """
    untrained = build(model, seed)
    predicted, fold_of = predict(sites, untrained, folds)
    guessed, _ = predict(sites, DummyRegressor(), folds)
    each = [
        errors(sites.target[fold_of == f], predicted[fold_of == f])
        for f in range(int(fold_of.max()) + 1)
    ]
    result: dict[str, Any] = {
        "target": target,
        "model": model,
        "points": len(sites.target),
        "points_without_target": sites.dropped,
        "blocks": int(sites.blocks.max()) + 1,
        "folds": len(each),
        generated.COLUMN: generated.in_table(sites.table),
        **errors(sites.target, predicted),
        "baseline_mean": errors(sites.target, guessed),
        "of_folds": each,
    }
    files.write_json(out / "regression.json", result)
    _write_points(out / "regression_points.csv", sites, target, predicted, fold_of)
    if model == "forest":
        fitted = clone(untrained).fit(sites.embeddings, sites.target)
        _write_importances(out / "regression_importances.csv", fitted)
    figure = regression_plots.scatter(
        sites.target, predicted, fold_of, target, _headline(result)
    )
    generated.mark(figure, result[generated.COLUMN])
    pictures.save_png(figure, out / "regression.png")
    return result


def _headline(result: dict[str, Any]) -> Sequence[str]:
    base = result["baseline_mean"]
    return [
        f"R² {result['r2']:.3f}",
        f"MAE {result['mae']:.3g}",
        f"median AE {result['median_ae']:.3g}",
        f"RMSE {result['rmse']:.3g} (mean of the others: {base['rmse']:.3g})",
    ]


def _write_points(
    path: Path,
    sites: Sites,
    target: str,
    predicted: NDArray[np.float64],
    fold_of: NDArray[np.int64],
) -> None:
    """Writes a row a point, the worst first."""
    own = [n for n in sites.table.columns if not str(n).startswith(EMBEDDING)]
    table = sites.table[own].assign(
        block=sites.blocks,
        fold=fold_of,
        predicted=predicted,
        error=predicted - sites.target,
        absolute_error=np.abs(predicted - sites.target),
    )
    table = table.sort_values("absolute_error", ascending=False, kind="stable")
    files.write_text(path, table.to_csv(index=False))


def _write_importances(path: Path, fitted: Any) -> None:
    """Writes the share of each band in what the trees' splits gain."""
    table = pd.DataFrame(
        {
            "band": [f"{EMBEDDING}{i}" for i in range(fitted.n_features_in_)],
            "importance": fitted.feature_importances_,
        }
    )
    table = table.sort_values("importance", ascending=False, kind="stable")
    files.write_text(path, table.to_csv(index=False))
