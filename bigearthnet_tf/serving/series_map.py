"""Maps of tiles by a run on pixel time series: from a request to files and lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigearthnet_tf import outputs
from bigearthnet_tf.serving import maps, pixel_run, tile_maps, tile_sample, tile_source
from bigearthnet_tf.serving.tile_products import KINDS


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
    outputs.check_folder(request.out, [request.source, request.run])
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
    model = model.needing(options.get("min_valid", tiles[0].min_valid))
    wanted = tile_maps.Request(
        kinds=tuple(kind for kind in KINDS if kind in kinds),
        rule=model.rule(options.get("draws"), options.get("seed", 42)),
        int8=options.get("int8", False),
        pca=options.get("pca"),
        sample_size=options.get("sample_size", tile_sample.SIZE),
    )
    for path, report in tile_maps.map_tiles(model, tiles, wanted, request.out):
        yield from _lines(path, report)


def _check(out: Path, options: Any) -> None:
    kinds = options.get("kind") or []
    if out.suffix in (".tif", ".tiff") or out.is_file():
        raise ValueError(
            f"{out}: expected a folder, which gets a GeoTIFF, a picture and a report "
            "of each tile"
        )
    if options.get("int8") and "embedding" not in kinds:
        raise ValueError("--int8 is for --kind embedding")
    if options.get("pca") and "false-colour" not in kinds:
        raise ValueError("--pca is for --kind false-colour")
    if options.get("sample_size", 1) < 1:
        raise ValueError(
            f"--sample-size: expected 1 or more, got {options['sample_size']}"
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
    yield f"  {path}"
