"""What finished maps of a tile hold: numbers for the report, read back in strips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from bigearthnet_tf import files, pictures
from bigearthnet_tf.archive.land_cover import LandCover
from bigearthnet_tf.metrics import pixels
from bigearthnet_tf.serving import embedding_picture, map_picture
from bigearthnet_tf.serving.pixel_model import PixelModel
from bigearthnet_tf.serving.tile_products import AGREES, DIFFERENCE, NO_CLASS
from bigearthnet_tf.serving.tile_source import MapTile

# Above pictures.
TITLES = {
    "embedding": "embeddings",
    "class": "land cover",
    "probability": "probability of land cover",
    "false-colour": "principal components of the embeddings",
    DIFFERENCE: "difference from the reference",
}

_ROWS = 512  # of a strip, as of the blocks of a file


def write(
    path: Path,
    tile: MapTile,
    model: PixelModel,
    maps: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> None:
    """Writes the report of a tile, and a picture of each of its maps.

    Args:
        path: of the report.
        tile: what was mapped.
        model: what mapped it.
        maps: by kind.
        facts: what else is to be told.
    """
    valid, hectares = _count_valid(next(iter(maps.values()))), _hectares(tile)
    report: dict[str, Any] = {
        "tile": tile.name,
        **facts,
        "pixels": tile.height * tile.width,
        "valid_pixels": valid,
        "maps": {kind: file.name for kind, file in maps.items()},
    }
    if "class" in maps:
        counts = _count_classes(maps["class"], len(model.classes))
        report["classes"] = _shares(model.classes, counts, hectares)
    if DIFFERENCE in maps:
        confusion = _confusion(maps["class"], maps[DIFFERENCE], len(model.classes))
        report["reference"] = agreement(confusion, model.classes)
    if "embedding" in maps:
        report["cut_off_share"] = _cut_off(maps["embedding"], valid)
    labelled = report.get("reference", {}).get("labelled_pixels", 0)
    report["pictures"] = {}
    for kind, file in maps.items():
        # Of nothing there is nothing to draw.
        if labelled if kind == DIFFERENCE else valid:
            picture = file.with_suffix(".png")
            title = f"{tile.name}: {TITLES[kind]}\n{facts['run']}"
            draw = embedding_picture.draw if kind == "embedding" else map_picture.draw
            pictures.save_png(draw(file, title), picture)
            report["pictures"][kind] = picture.name
    files.write_json(path, report)


def agreement(
    confusion: NDArray[np.int64], classes: Sequence[LandCover]
) -> dict[str, Any]:
    """Returns how far a map agrees with a reference.

    Args:
        confusion: (classes, classes) pixels, by the reference's class, then the map's.
        classes: their names.

    Returns:
        The metrics of `metrics.pixels.pixel_report`, those of single classes by their
        names, and the matrix.
    """
    found = pixels.pixel_report(confusion)
    per_class = {f"{m}_class{j}" for m in pixels.PER_LABEL for j in range(len(classes))}
    return {
        **{name: value for name, value in found.items() if name not in per_class},
        "labelled_pixels": int(confusion.sum()),
        "classes": {
            each.name: {m: found[f"{m}_class{j}"] for m in pixels.PER_LABEL}
            for j, each in enumerate(classes)
        },
        "confusion": confusion.tolist(),
    }


def _strips(path: Path, band: int = 1) -> Iterator[NDArray[Any]]:
    with rasterio.open(path) as dataset:
        for row in range(0, dataset.height, _ROWS):
            height = min(_ROWS, dataset.height - row)
            yield dataset.read(band, window=Window(0, row, dataset.width, height))


def _count_valid(path: Path) -> int:
    with rasterio.open(path) as dataset:
        nodata = dataset.nodata
    missing = np.isnan if np.isnan(nodata) else lambda strip: strip == nodata
    return sum(int((~missing(strip)).sum()) for strip in _strips(path))


def _count_classes(path: Path, count: int) -> NDArray[np.int64]:
    counts = np.zeros(NO_CLASS + 1, np.int64)
    for strip in _strips(path):
        counts += np.bincount(strip.ravel(), minlength=len(counts))
    return counts[:count]


def _shares(
    classes: Sequence[LandCover], counts: NDArray[np.int64], hectares: float | None
) -> list[dict[str, Any]]:
    total = max(1, counts.sum())
    return [
        {
            "class": number,
            "name": each.name,
            "code": each.code,
            "pixels": int(count),
            "share": float(count / total),
            "hectares": None if hectares is None else float(count * hectares),
        }
        for number, (each, count) in enumerate(zip(classes, counts, strict=True))
    ]


def _hectares(tile: MapTile) -> float | None:
    """Returns the area of a pixel; None in degrees, and where it has no place."""
    crs, transform = tile.grid()
    if crs is None:
        return None
    system = rasterio.crs.CRS.from_user_input(crs)
    if not system.is_projected:
        return None
    metres = system.linear_units_factor[1]
    return float(abs(transform.determinant) * metres**2 / 10_000)


def _confusion(classes: Path, differences: Path, count: int) -> NDArray[np.int64]:
    """Returns the pixels by the reference's class, then the map's."""
    result = np.zeros((count, count), np.int64)
    for found, differs in zip(_strips(classes), _strips(differences), strict=True):
        compared = differs != NO_CLASS
        mapped, told = found[compared], differs[compared]
        reference = np.where(told == AGREES, mapped, told - 1)
        result += pixels.confusion(reference, mapped, count)
    return result


def _cut_off(path: Path, valid: int) -> float | None:
    """Returns the share of int8 values at an end of their range; None for floats."""
    with rasterio.open(path) as dataset:
        if dataset.dtypes[0] != "int8":
            return None
        # Fitted with a margin: a value at an end was beyond it, but for rounding.
        # All bands of a block at once: they may be compressed together.
        ends = sum(
            int((np.abs(dataset.read(window=window).astype(np.int16)) == 127).sum())
            for _, window in dataset.block_windows(1)
        )
        return ends / max(1, valid * dataset.count)
