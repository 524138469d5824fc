"""Maps of tiles by a run on pixel time series: from a request to files and lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bigearthnet_tf import outputs
from bigearthnet_tf.serving import (
    colour_space,
    maps,
    pixel_run,
    tile_arrays,
    tile_maps,
    tile_source,
)
from bigearthnet_tf.serving.tile_products import KINDS

logger = logging.getLogger(__name__)


def make_map(request: maps.Request) -> Iterator[str]:
    """Writes the maps that are asked for, into a folder.

    Yields:
        Lines for the user, as the tiles are done.

    Raises:
        FileNotFoundError: no tiles.
        ValueError: options that don't fit the run or the tiles.
    """
    options = request.options
    _check(request.out, options)
    array = request.out if request.out.suffix == tile_arrays.SUFFIX else None
    out = request.out.parent if array else request.out
    if array is None:
        outputs.check_folder(out, [request.source, request.run])
    else:
        tile_arrays.check_free(array, [request.source, request.run])
    model = pixel_run.load(request.checkpoint)
    kinds = options.get("kind") or ["class" if model.classes else "false-colour"]
    tiles = tile_source.open_tiles(
        request.source,
        names=options.get("tile", ()),
        crs=options.get("crs"),
        transform=options.get("transform"),
        dn_offset=options.get("dn_offset"),
        block_size=options.get("block_size", tile_source.BLOCK_SIZE),
    )
    if array is not None:
        _check_array(array, len(tiles), kinds, options.get("int8", False))
    _say_unplaced(tiles)
    logger.info("bands are standardised by %s", model.standardised_by)
    model = model.needing(options.get("min_valid", tiles[0].min_valid))
    wanted = tile_maps.Request(
        kinds=tuple(kind for kind in KINDS if kind in kinds),
        rule=model.rule(options.get("draws"), options.get("seed", 42)),
        int8=options.get("int8", False),
        pca=options.get("pca"),
        sample_size=options.get("sample_size", colour_space.SAMPLE_SIZE),
        array=array,
    )
    for path, report in tile_maps.map_tiles(model, tiles, wanted, out):
        yield from _lines(path, report)


def _check(out: Path, options: Any) -> None:
    kinds = options.get("kind") or []
    is_array = out.suffix == tile_arrays.SUFFIX
    if out.suffix in (".tif", ".tiff") or (out.is_file() and not is_array):
        raise ValueError(
            f"{out}: expected a folder, which gets a GeoTIFF, a picture and a report "
            "of each tile, or the name of a .npy"
        )
    if options.get("int8") and "embedding" not in kinds:
        raise ValueError("--int8 is for --kind embedding")
    if options.get("pca") and "false-colour" not in kinds:
        raise ValueError("--pca is for --kind false-colour")
    if options.get("sample_size", 1) < 1:
        raise ValueError(
            f"--sample-size: expected 1 or more, got {options['sample_size']}"
        )


def _check_array(array: Path, num_tiles: int, kinds: Sequence[str], int8: bool) -> None:
    """Raises ValueError unless one array can hold what is asked for."""
    if num_tiles > 1:
        raise ValueError(
            f"{array}: holds the map of one tile, but there are {num_tiles}; name one "
            "in --tile, or give a folder as OUT"
        )
    if len(kinds) != 1 or kinds[0] not in tile_arrays.KINDS or int8:
        asked = " ".join(kinds) + (" --int8" if int8 else "")
        raise ValueError(
            f"{array}: a .npy has one map of --kind class or embedding, in float32, "
            f"but {asked} is asked for; give a folder as OUT, which gets GeoTIFFs"
        )


def _say_unplaced(tiles: Sequence[tile_source.MapTile]) -> None:
    """Warns once of tiles whose maps will lie nowhere."""
    unplaced = [tile.name for tile in tiles if tile.grid()[0] is None]
    if unplaced:
        logger.warning(
            "%s: no coordinate system is known, so maps are in pixel coordinates: x is "
            "the column, y the row; --crs and --transform, or tile.json, place them",
            ", ".join(unplaced),
        )


def _lines(path: Path, report: dict[str, Any]) -> Iterator[str]:
    share = report["valid_pixels"] / report["pixels"]
    yield (
        f"{report['tile']}: {report['valid_pixels']:,} of {report['pixels']:,} pixels "
        f"({share:.1%}), {report['dates']}"
    )
    stability = report["stability"]
    if stability["pixels"]:
        agreement = stability.get("label_agreement")
        yield (
            f"  two draws of the dates agree: cosine {stability['cosine']:.4f} "
            f"(different pixels {stability['cosine_of_different_pixels']:.4f})"
            + ("" if agreement is None else f", {agreement:.1%} of the labels")
        )
    reference = report.get("reference", {})
    if reference.get("labelled_pixels"):
        yield (
            f"  {reference['pixel_accuracy']:.1%} of {reference['labelled_pixels']:,} "
            f"labelled pixels agree with the reference, mean IoU "
            f"{reference['mean_iou']:.3f}"
        )
    for kind, file in report["maps"].items():
        picture = report["pictures"].get(kind)
        yield f"  {path.parent / file}" + (f", {picture}" if picture else "")
    if "array" in report:
        yield f"  {path.parent / report['array']}"
    yield f"  {path}"
