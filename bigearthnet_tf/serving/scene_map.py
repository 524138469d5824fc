"""Maps of scenes: the best label, scores or sets of labels, window by window.

A pixel of the map is `pixel` metres wide; the first one begins at the upper left corner
of the scene, the last ones may reach out of it. By default there is one for each stride
of the windows. What it has, `windows` says.

Memory: a block of the scene and of the map at a time, one more of the scene that is
read meanwhile, and GDAL's cache, whatever the size of the scene.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

import bigearthnet_tf
from bigearthnet_tf import console, outputs, pictures
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive.pixel_values import Given
from bigearthnet_tf.serving import (
    band_files,
    map_picture,
    maps,
    rasters,
    scene_products,
    trained,
    windows,
)
from bigearthnet_tf.serving.band_files import BandFile
from bigearthnet_tf.serving.rasters import RasterForm, ResumableRaster
from bigearthnet_tf.serving.scene_products import Product
from bigearthnet_tf.serving.scenes import METRES, STEP, Region, Scene
from bigearthnet_tf.serving.windows import Block, Grid, WindowModel
from bigearthnet_tf.training import memory

logger = logging.getLogger(__name__)

# Blocks of about 12 km: with windows half a window apart a tenth is computed twice.
BLOCK = 1200
STRIDE_METRES = band_facts.PATCH_METRES // 2
# Another way to compute the same map makes another map.
_VERSION = 2
# Of GDAL, so that memory grows neither with the scene nor with the machine. Holds the
# JPEG 2000 tiles of 1024 x 1024 that neighbouring blocks share.
_CACHE_BYTES = 256 << 20


def make_map(request: maps.Request) -> list[str]:
    """Writes the map of a classification.

    Args:
        request: what to map, with which run.

    Returns:
        Lines for the user.

    Raises:
        FileNotFoundError: no such scene.
        ValueError: an option that can't be, or a scene that can't be mapped.
        OSError: the map can't be written.
    """
    return write(trained.load(request.checkpoint).windows(), request)


def write(model: WindowModel, request: maps.Request) -> list[str]:
    """Writes the map of whatever scores windows; arguments as for `make_map`.

    Args:
        model: that scores windows, or their pixels.
        request: what to map.

    Returns:
        Lines for the user.
    """
    options = request.options
    picture = options.get("picture")
    if picture is not None and picture.suffix.lower() != ".png":
        raise ValueError(f"--picture {picture}: expected a name that ends in .png")
    read = [request.source, request.run, *filter(None, [options.get("s1")])]
    rasters.check_free(request.out, read)
    if picture is not None:
        outputs.check_file(picture, outputs.is_png, [*read, request.out])
    product = scene_products.choose(model, options, request.run)
    files = find_bands(model.bands, request.source, options)
    with (
        rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES),
        Scene(files, request.source) as scene,
    ):
        grid = _grid(scene, model, options)
        key = _key(model, files, grid, product)
        form = _form(scene, grid, product, _tags(model, request, grid, product))
        if rasters.is_finished(request.out, key):
            lines = [f"{request.out}: is there already"]
        else:
            at_once = options.get("batch_size", trained.BATCH_SIZE)
            most = min(at_once, max(block.num_windows for block in grid.blocks()))
            memory.check_batch(most, model.example_bytes, "--batch-size")
            _write(request.out, form, key, model, scene, grid, product, at_once)
            rows, columns = grid.shape
            size = f"{rows} x {columns} pixels of {grid.pixel * METRES} m"
            lines = [f"{request.out}: {product.title}, {size}"]
    if "picture" in options:
        figure = map_picture.draw(
            request.out, title=f"{request.source.name}: {product.title}"
        )
        pictures.save_png(figure, options["picture"])
        lines.append(f"{options['picture']}: drawn")
    return lines


def find_bands(
    wanted: Sequence[str], source: Path, options: Mapping[str, Any]
) -> dict[str, BandFile]:
    """Returns where the bands of a scene lie, Sentinel-1 perhaps elsewhere.

    Args:
        wanted: names.
        source: of the scene.
        options: `s1`, `nodata`, `scale` and `offset`, if given.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a band is missing.
    """
    given = Given(*(options.get(name) for name in ("scale", "offset", "nodata")))
    radar = [name for name in wanted if band_facts.BANDS[name].sensor == "S1"]
    found = band_files.find(source, wanted, given)
    if "s1" in options:
        if not radar:
            raise ValueError(
                f"--s1 {options['s1']}: the model takes no Sentinel-1; leave it out"
            )
        found |= band_files.find(options["s1"], radar, given)
    missing = [name for name in wanted if name not in found]
    if missing:
        hint = (
            "; give those of Sentinel-1 with --s1" if set(missing) & set(radar) else ""
        )
        raise ValueError(
            f"{source}: the model needs {', '.join(wanted)}, but the scene lacks "
            f"{', '.join(missing)}{hint}"
        )
    return {name: found[name] for name in wanted}


def _grid(scene: Scene, model: WindowModel, options: Mapping[str, Any]) -> Grid:
    """Returns windows and pixels as the options have them."""
    stride = options.get("stride", STRIDE_METRES)
    step, side = STEP * METRES, band_facts.PATCH_METRES
    if stride % step or not step <= stride <= side:
        raise ValueError(
            f"--stride: expected a multiple of {step} m up to {side}, where pixels of "
            f"10, 20 and 60 m all begin, got {stride}"
        )
    pixel = options.get("pixel", METRES if model.per_pixel else stride)
    if model.per_pixel and pixel not in (10, 20, 30, 60):
        raise ValueError(f"--pixel: expected 10, 20, 30 or 60 m, got {pixel}")
    if pixel % METRES or not METRES <= pixel <= side:
        raise ValueError(
            f"--pixel: expected a multiple of {METRES} m up to {side}, got {pixel}"
        )
    unit = math.lcm(pixel // METRES, STEP)
    block = options.get("block_size", max(BLOCK // unit, 1) * unit)
    if block < unit or block % unit:
        raise ValueError(
            f"--block-size: expected a multiple of {unit} pixels of {METRES} m, for "
            f"map pixels of {pixel} m, got {block}"
        )
    if options.get("batch_size", 1) < 1:
        raise ValueError(
            f"--batch-size: expected 1 or more, got {options['batch_size']}"
        )
    rows, columns = min(block, scene.height), min(block, scene.width)
    memory.check_room(
        rows * columns * _bytes_of_pixel(model.bands),
        f"--block-size: {rows} x {columns} pixels of {METRES} m at once need",
    )
    return Grid(scene.height, scene.width, stride // METRES, pixel // METRES, block)


def _bytes_of_pixel(bands: Sequence[str]) -> int:
    """Returns the bytes of all bands on 10 m x 10 m, with a byte for validity."""
    facts = [band_facts.BANDS[name] for name in bands]
    return math.ceil(
        sum((np.dtype(f.dtype).itemsize + 1) * (METRES / f.metres) ** 2 for f in facts)
    )


def _key(
    model: WindowModel, files: Mapping[str, BandFile], grid: Grid, product: Product
) -> str:
    sources = [
        [name, maps.stamp(f.path), f.index, asdict(f.values)]
        for name, f in files.items()
    ]
    return maps.hash_of(_VERSION, model.key, sources, asdict(grid), product.key)


def _tags(
    model: WindowModel, request: maps.Request, grid: Grid, product: Product
) -> dict[str, str]:
    stride = grid.stride * METRES
    return {
        "AREA_OR_POINT": "Area",
        "SOFTWARE": f"bigearthnet_tf {bigearthnet_tf.__version__}",
        "MODEL": model.title,
        "CHECKPOINT": request.checkpoint.name,
        "BANDS": " ".join(model.bands),
        "SCENE": request.source.name,
        "WINDOWS": f"1200 m, {stride} m apart"
        + (", weighted by a Hann window" if stride < band_facts.PATCH_METRES else ""),
        **product.tags,
    }


def _form(
    scene: Scene, grid: Grid, product: Product, tags: Mapping[str, str]
) -> RasterForm:
    rows, columns = grid.shape
    left, top, side = scene.transform.c, scene.transform.f, METRES * grid.pixel
    return RasterForm(
        crs=scene.crs,
        transform=Affine(side, 0, left, 0, -side, top),
        width=columns,
        height=rows,
        count=len(product.descriptions),
        dtype=product.dtype,
        nodata=product.nodata,
        descriptions=product.descriptions,
        colours=product.colours,
        scales=product.scales,
        has_flags=product.has_flags,
        tags=tags,
    )


def _write(
    out: Path,
    form: RasterForm,
    key: str,
    model: WindowModel,
    scene: Scene,
    grid: Grid,
    product: Product,
    batch_size: int,
) -> None:
    """Writes the blocks that an earlier process has not written, and the map."""
    with ResumableRaster(out, form, key) as raster:
        todo = [b for b in grid.blocks() if not raster.is_done(_window(b, grid))]
        total = sum(block.num_windows for block in grid.blocks())
        left = sum(block.num_windows for block in todo)
        if left < total:
            logger.info(
                "%s: going on, %d of %d windows are done", out, total - left, total
            )
        bar = console.progress(
            total=total,
            initial=total - left,
            desc="mapping",
            unit="window",
            compiles=left > 0,
        )
        any_data = left < total
        with bar:
            for block, region in _read_ahead(scene, todo):
                scores = windows.blend(
                    model, region, block, grid, batch_size, bar.update
                )
                any_data = any_data or not np.isnan(scores).all()
                raster.write(_window(block, grid), product.make(scores))
        if not any_data:
            raster.discard()
            raise ValueError(
                f"{scene.what}: no pixel has data in all of {', '.join(model.bands)}: "
                "look at the scene, and at what stands for no data in it (--nodata; 0 "
                "where the files do not say)"
            )
        raster.finish()


def _window(block: Block, grid: Grid) -> Window:
    return Window(
        block.column // grid.pixel,
        block.row // grid.pixel,
        block.width // grid.pixel,
        block.height // grid.pixel,
    )


def _read_ahead(scene: Scene, blocks: list[Block]) -> Iterator[tuple[Block, Region]]:
    """Yields blocks with their regions, of which the next is read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        following = [reader.submit(scene.read, *block.extent) for block in blocks[:1]]
        for number, block in enumerate(blocks):
            region = following.pop().result()
            for later in blocks[number + 1 : number + 2]:
                following.append(reader.submit(scene.read, *later.extent))
            yield block, region
