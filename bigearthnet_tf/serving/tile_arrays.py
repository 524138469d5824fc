"""Maps of tiles as `.npy` too, beside the GeoTIFFs that they are read back from."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from bigearthnet_tf import arrays, files, outputs
from bigearthnet_tf.archive import raster_header, tile_npy
from bigearthnet_tf.serving import rasters

SUFFIX = ".npy"
# Maps that go into an array: each pixel its class, or its embedding.
KINDS = ("class", "embedding")
# Of the rows that are copied at once.
_STRIP_BYTES = 32 << 20


def raster_of(path: Path) -> Path:
    """Returns the GeoTIFF beside an array."""
    return path.with_name(f"{path.stem}.tif")


def report_of(path: Path) -> Path:
    """Returns the report beside an array, which names its classes."""
    return path.with_name(f"{path.stem}.json")


def check_free(path: Path, inputs: Iterable[Path]) -> None:
    """Checks that nothing but an earlier array is replaced, and no tile changed.

    Args:
        path: where the array is to be written.
        inputs: what the same call reads.

    Raises:
        ValueError: it would become a file of a tile, or is one of the inputs.
        OSError: something else lies there, or the folder can't be written to.
    """
    if tile_npy.is_tile(path.absolute().parent):
        raise ValueError(
            f"{path}: lies in the folder of a tile, whose files end in {SUFFIX} too; "
            "choose another folder"
        )
    outputs.check_file(path, is_array, inputs)


def is_array(path: Path) -> bool:
    """Recognises a finished array: it has the shape and type of the map beside it."""
    raster = raster_of(path)
    if not (raster.exists() and rasters.is_map(raster)):
        return False
    with suppress(ValueError, OSError):
        array = arrays.open_npy(path, "a map", "")
        with raster_header.open_raster(raster) as dataset:
            return (array.shape, array.dtype) == _form(dataset)
    return False


def write(raster: Path, path: Path) -> None:
    """Writes the pixels of a map as an array, atomically.

    (rows, columns) uint8 class numbers with 255 for no data, or (rows, columns,
    dimensions) float32 embeddings with NaN. Memory: 32 MB.

    Args:
        raster: the finished GeoTIFF.
        path: of the `.npy`.

    Raises:
        OSError: the disk is full.
    """
    with (
        rasterio.open(raster) as dataset,
        files.write_atomically(path) as temporary,
        temporary.open("wb") as file,
    ):
        shape, dtype = _form(dataset)
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        of_row = dataset.width * dataset.count * dtype.itemsize
        height = max(1, _STRIP_BYTES // of_row)
        for row in range(0, dataset.height, height):
            rows = min(height, dataset.height - row)
            strip = dataset.read(window=Window(0, row, dataset.width, rows))
            # Row by row; the bands of a pixel lie together.
            file.write(np.ascontiguousarray(np.moveaxis(strip, 0, -1)).data)


def _form(dataset: DatasetReader) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and type of the array of a map."""
    bands = () if dataset.dtypes[0] == "uint8" else (dataset.count,)
    return (dataset.height, dataset.width, *bands), np.dtype(dataset.dtypes[0])
