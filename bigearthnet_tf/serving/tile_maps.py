"""Maps of tiles: planned, written block by block, continued after a kill.

Memory: a block of the tile and what is made of it, some pixels on their way through the
encoder, the sample that colours are fitted on, the writer's cache; nothing grows with
the tile.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

import bigearthnet_tf
from bigearthnet_tf import console, files, outputs
from bigearthnet_tf.serving import (
    colour_space,
    maps,
    pixel_model,
    quantise,
    rasters,
    tile_arrays,
    tile_products,
    tile_report,
    tile_sample,
)
from bigearthnet_tf.serving.colour_space import ColourSpace
from bigearthnet_tf.serving.pixel_dates import DateRule
from bigearthnet_tf.serving.pixel_model import Encoder, PixelModel
from bigearthnet_tf.serving.quantise import Quantiser
from bigearthnet_tf.serving.tile_products import DIFFERENCE, KINDS, Product
from bigearthnet_tf.serving.tile_sample import Sample
from bigearthnet_tf.serving.tile_source import MapTile, window_of

logger = logging.getLogger(__name__)

# What a map follows from besides its inputs: raised when the same ones give others.
_VERSION = 1


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        kinds: some of `KINDS`.
        rule: how dates are chosen.
        int8: whether embeddings are stored in a byte each.
        pca: colour space to use; None to fit one.
        sample_size: pixels that colours and scales are fitted on.
        array: `.npy` that the map of the only kind, one of `tile_arrays.KINDS`, of the
            only tile is written to as well; GeoTIFF and report have its name, too.
    """

    kinds: tuple[str, ...]
    rule: DateRule
    int8: bool = False
    pca: Path | None = None
    sample_size: int = colour_space.SAMPLE_SIZE
    array: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """The maps of one tile: where each goes, and what it follows from."""

    tile: MapTile
    encoder: Encoder
    paths: dict[str, Path]
    keys: dict[str, str]
    report: Path
    array: Path | None

    def check_free(self) -> None:
        """Raises OSError where something else than an earlier map lies."""
        outputs.check_file(self.report, outputs.has_keys("tile", "maps", "pictures"))
        for path in self.paths.values():
            rasters.check_free(path)
            outputs.check_file(path.with_suffix(".png"), outputs.is_png)
        if self.array is not None:
            tile_arrays.check_free(self.array, [])

    @property
    def is_finished(self) -> bool:
        """Whether all is there; the report is written last."""
        there = [path for path in (self.report, self.array) if path is not None]
        return all(path.exists() for path in there) and all(
            rasters.is_finished(path, self.keys[kind])
            for kind, path in self.paths.items()
        )


def map_tiles(
    model: PixelModel, tiles: Sequence[MapTile], request: Request, out: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Maps tiles: GeoTIFFs `<tile>.<kind>.tif`, pictures, and `<tile>.json` of each.

    Of a run with classes and a tile with labels, a map of classes brings one of
    differences. A fitted colour space becomes `pca.npz`. Called again after a kill it
    goes on; what is finished stays.

    Args:
        model: what maps.
        tiles: what is mapped.
        request: which maps.
        out: folder to write to.

    Yields:
        The report of each tile, its file and its content.

    Raises:
        ValueError: classes of a run without, a tile without a place, bands that are
            missing, or no valid pixel in any tile.
        OSError: no room, or another process writes the same maps.
    """
    check_kinds(model, request.kinds)
    plans = [_plan(model, tile, request, out) for tile in tiles]
    for plan in plans:
        plan.check_free()
    if "false-colour" in request.kinds and request.pca is None:
        outputs.check_file(out / "pca.npz", outputs.contains("components.npy"))
    todo = [plan for plan in plans if not plan.is_finished]
    if todo:
        samples = tile_sample.draw(
            [(plan.tile, plan.encoder) for plan in plans],
            request.sample_size,
            tile_sample.STABILITY_SIZE,
        )
        if not any(len(sample.embeddings) for sample in samples):
            raise ValueError(_no_pixel(plans))
        space, quantiser = _fit(model, request, samples, out)
        for plan, sample in zip(plans, samples, strict=True):
            if plan in todo:
                products = list(_products(model, plan, request, space, quantiser))
                # That of an earlier map must not pass for one of this.
                plan.report.unlink(missing_ok=True)
                _write(plan, products)
                if plan.array is not None:
                    tile_arrays.write(plan.paths[products[0].kind], plan.array)
                tile_report.write(
                    plan.report,
                    plan.tile,
                    model,
                    plan.paths,
                    facts=_facts(model, request, space)
                    | {"stability": sample.stability},
                )
    for plan in plans:
        yield plan.report, files.read_json(plan.report)


def _no_pixel(plans: Sequence[_Plan]) -> str:
    names = ", ".join(plan.tile.name for plan in plans)
    least = min(plan.encoder.needed for plan in plans)
    return (
        f"{names}: nothing to map: no pixel has more than {least - 1} usable dates; "
        "lower --min-valid, or look whether the masks are of 1 where a date is usable"
    )


def check_kinds(model: PixelModel, kinds: Sequence[str]) -> None:
    """Checks that a run can give the maps that are asked for.

    Raises:
        ValueError: it has learnt no classes.
    """
    if not model.classes and (asked := {"class", "probability"} & set(kinds)):
        raise ValueError(
            f"--kind {' '.join(sorted(asked))}: this run has learnt no classes; ask "
            "for embedding or false-colour, or train a land_cover run from its weights"
        )


def _plan(model: PixelModel, tile: MapTile, request: Request, out: Path) -> _Plan:
    crs, transform = tile.grid()
    kinds = [kind for kind in KINDS if kind in request.kinds]
    if "class" in kinds and tile.has_labels:
        kinds.append(DIFFERENCE)
    follows_from = [
        *(_VERSION, model.key, model.min_valid, asdict(request.rule), request.int8),
        *(request.pca and maps.stamp(request.pca), request.sample_size),
        *(tile.name, tile.stamp, tile.height, tile.width, crs, list(transform)),
    ]
    paths = {kind: out / f"{tile.name}.{kind}.tif" for kind in kinds}
    report = out / f"{tile.name}.json"
    if request.array is not None:
        first = tile_arrays.raster_of(request.array)
        paths = {kind: first.with_suffix(f".{kind}.tif") for kind in kinds}
        paths[kinds[0]] = first
        report = tile_arrays.report_of(request.array)
    return _Plan(
        tile,
        pixel_model.open_encoder(model, request.rule, tile.doys, tile.bands, tile.name),
        paths,
        {kind: maps.hash_of(kind, *follows_from) for kind in kinds},
        report,
        request.array,
    )


def _fit(
    model: PixelModel, request: Request, samples: Sequence[Sample], out: Path
) -> tuple[ColourSpace | None, Quantiser | None]:
    """Fits colours and scales to the samples of all tiles, where they are needed."""
    embeddings = np.concatenate([sample.embeddings for sample in samples])
    space = None
    if "false-colour" in request.kinds and request.pca:
        space = colour_space.load(request.pca, model.key)
    elif "false-colour" in request.kinds:
        space = colour_space.fit(embeddings, model.key)
        colour_space.save(space, out / "pca.npz")
    needed = "embedding" in request.kinds and request.int8
    return space, quantise.fit(embeddings) if needed else None


def _products(
    model: PixelModel,
    plan: _Plan,
    request: Request,
    space: ColourSpace | None,
    quantiser: Quantiser | None,
) -> Iterator[Product]:
    tags = {
        "SOFTWARE": f"bigearthnet_tf {bigearthnet_tf.__version__}",
        "RUN": model.title,
        "MODEL_KEY": model.key,
        "TILE": plan.tile.name,
        "DATES": describe_rule(model, request.rule),
        "MIN_VALID": f"more than {plan.encoder.needed - 1} valid dates",
    }
    for kind in plan.paths:
        if kind == "embedding":
            yield tile_products.embedding(plan.tile, model, tags, quantiser)
        elif kind == "false-colour" and space is not None:
            yield tile_products.false_colour(plan.tile, space, tags)
        else:
            make = {
                "class": tile_products.classes,
                "probability": tile_products.probability,
                DIFFERENCE: tile_products.difference,
            }[kind]
            yield make(plan.tile, model, tags)


def describe_rule(model: PixelModel, rule: DateRule) -> str:
    """Returns in words which dates a map has seen."""
    if not rule.draws:
        return "all valid dates"
    times = "once" if rule.draws == 1 else f"{rule.draws} times and averaged"
    return f"{model.sample_size} valid dates drawn {times}, seed {rule.seed}"


def _facts(
    model: PixelModel, request: Request, space: ColourSpace | None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "run": model.title,
        "model_key": model.key,
        "dates": describe_rule(model, request.rule),
        "standardised_by": model.standardised_by,
        "draws": request.rule.draws,
        "seed": request.rule.seed,
    }
    if request.array is not None:
        found["array"] = request.array.name
    if space is not None:
        found["explained_variance"] = space.explained.tolist()
        found["colours_fitted_on"] = space.count
    return found


def _write(plan: _Plan, products: Sequence[Product]) -> None:
    """Writes the maps of a tile that are not finished yet, in one pass."""
    todo = [
        product
        for product in products
        if not rasters.is_finished(plan.paths[product.kind], plan.keys[product.kind])
    ]
    with contextlib.ExitStack() as opened:
        written = [
            opened.enter_context(
                rasters.ResumableRaster(
                    plan.paths[product.kind], product.form, plan.keys[product.kind]
                )
            )
            for product in todo
        ]
        _fill(plan, todo, written)
        for raster in written:
            raster.finish()


def _fill(
    plan: _Plan, products: Sequence[Product], written: Sequence[rasters.ResumableRaster]
) -> None:
    tile, encoder = plan.tile, plan.encoder
    seen: list[Window] = []
    size = tile.height * tile.width
    with console.progress(
        total=size, desc=tile.name, unit="px", unit_scale=True
    ) as bar:

        def wanted(window: Window) -> bool:
            seen.append(window)
            done = all(raster.is_done(window) for raster in written)
            if done:
                # What an earlier process did is no measure of this one's rate.
                bar.initial += window.width * window.height
                bar.update(window.width * window.height)
            return not done

        for block in tile.read(wanted):
            valid = encoder.valid(block)
            encoded = encoder.encode(block, np.flatnonzero(valid))
            labels = encoder.model.class_numbers(
                np.full(valid.shape, tile_products.NO_CLASS, np.uint8)
                if block.labels is None
                else block.labels
            )
            window = window_of(block)
            for product, raster in zip(products, written, strict=True):
                if not raster.is_done(window):
                    raster.write(window, product.paint(encoded, labels, valid))
            bar.update(valid.size)
        for window in _gaps(tile, seen):
            for product, raster in zip(products, written, strict=True):
                if not raster.is_done(window):
                    shape = (product.form.count, window.height, window.width)
                    raster.write(
                        window, np.full(shape, product.form.nodata, product.form.dtype)
                    )
            bar.update(window.width * window.height)


def _gaps(tile: MapTile, seen: Sequence[Window]) -> Iterator[Window]:
    """Yields what records lack of a tile, in windows that are the same each time."""
    rows = sorted(
        {0, tile.height}.union(*((w.row_off, w.row_off + w.height) for w in seen))
    )
    columns = sorted(
        {0, tile.width}.union(*((w.col_off, w.col_off + w.width) for w in seen))
    )
    covered = np.zeros((len(rows) - 1, len(columns) - 1), bool)
    for w in seen:
        first = np.searchsorted(rows, w.row_off), np.searchsorted(columns, w.col_off)
        last = (
            np.searchsorted(rows, w.row_off + w.height),
            np.searchsorted(columns, w.col_off + w.width),
        )
        covered[first[0] : last[0], first[1] : last[1]] = True
    for i, j in np.argwhere(~covered):
        yield Window(
            columns[j], rows[i], columns[j + 1] - columns[j], rows[i + 1] - rows[i]
        )
