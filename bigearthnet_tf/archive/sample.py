"""Writes a generated archive in the genuine layout of BigEarthNet v1 or v2.

`plans` says which patches there are, `landscape` what lies in them, `synthesis` what
that looks like; here it becomes files.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import lru_cache, partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tifffile
from numpy.typing import NDArray
from pyarrow import parquet
from rasterio.crs import CRS
from threadpoolctl import threadpool_limits

from bigearthnet_tf import files, signals
from bigearthnet_tf.archive import (
    bands,
    geotiff,
    labels,
    landscape,
    names,
    patterns,
    plans,
    splits,
    synthesis,
)
from bigearthnet_tf.archive.names import Version
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.archive.plans import Plan
from bigearthnet_tf.registry import nearest_names

VERSIONS: tuple[Version, ...] = ("v1", "v2")
MAX_PATCHES = 100_000  # beyond, the cells of the smallest country run out

FOLDERS = {
    "v1": ("BigEarthNet-v1.0", "BigEarthNet-S1-v1.0"),
    "v2": ("BigEarthNet-S2", "BigEarthNet-S1"),
}
MAPS_FOLDER = "Reference_Maps"

_V2_SPLITS = {"train": "train", "val": "validation", "test": "test"}

STRIP_BYTES = 8192  # GDAL's default, as in the genuine files


def write_archive(
    out: Path | str,
    patches: int,
    version: str = "v2",
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Path:
    """Writes a generated archive in the layout of BigEarthNet v1 or v2.

    The same seed gives the same patches and pixels in both versions, whatever the
    number of workers; the first N patches of a larger archive are those of a smaller
    one. The folder appears when it is complete, not before.

    Args:
        out: the folder to make; it may exist if it is empty.
        patches: 1 to 100,000; from 3 on, every split has one.
        version: `"v1"` or `"v2"`.
        seed: not negative.
        workers: processes; None for one a processor.
        progress: called with the number of patches done since the last call.

    Returns:
        The folder.

    Raises:
        ValueError: an argument out of its range, or something lies in the folder.
        OSError: the disk is full or not writable.
    """
    out = Path(out)
    workers = (os.cpu_count() or 1) if workers is None else workers
    layout = _check(out, patches, version, seed, workers)
    drawn = plans.draw_plans(patches, seed)
    with files.temporary_beside(out) as folder:
        partial_out = folder / out.name
        partial_out.mkdir()
        write = partial(_write_patch, partial_out, layout, seed)
        codes = []
        for found in _map(write, drawn, workers):
            codes.append(found)
            if progress is not None:
                progress(1)
        if layout == "v1":
            _write_lists(partial_out, drawn)
        else:
            _write_metadata(partial_out / "metadata.parquet", drawn, codes)
        (partial_out / "README.txt").write_text(
            _readme(patches, layout, seed), encoding="utf-8"
        )
        if out.exists():
            out.rmdir()
        partial_out.rename(out)
    return out


def _check(out: Path, patches: int, version: str, seed: int, workers: int) -> Version:
    """Refuses wrong arguments; returns the version."""
    if version not in VERSIONS:
        raise ValueError(
            f"unknown archive version {version!r}: {nearest_names(version, VERSIONS)}"
        )
    if not 1 <= patches <= MAX_PATCHES:
        raise ValueError(f"expected 1 to {MAX_PATCHES} patches, got {patches}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    if workers < 1:
        raise ValueError(f"expected 1 worker or more, got {workers}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out}: expected no such folder, or an empty one, but something is there: "
            "choose another folder or remove this one"
        )
    return "v1" if version == "v1" else "v2"


def _map(
    write: Callable[[Plan], tuple[int, ...]], drawn: Sequence[Plan], workers: int
) -> Iterator[tuple[int, ...]]:
    """Maps in order, in processes if more than one is worth it.

    Each computes on a single thread: the matrices are small, and threads of several
    processes that wait for one another made it seven times slower.
    """
    workers = min(workers, len(drawn))
    if workers <= 1:
        with threadpool_limits(1, "blas"):
            yield from map(write, drawn)
        return
    # Spawned, because forking a process that runs TensorFlow's threads can deadlock.
    with ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
    ) as pool:
        with signals.sparing_children():
            found = pool.map(write, drawn, chunksize=8)
        yield from found


def _start_worker() -> None:
    """Limits BLAS in a worker; a function of this module, so NumPy is loaded by now."""
    signals.end_with_parent()
    threadpool_limits(1, "blas")


def _write_patch(
    root: Path, version: Version, seed: int, plan: Plan
) -> tuple[int, ...]:
    """Draws and writes one patch; returns the CLC codes in its map, ascending."""
    sequence = np.random.SeedSequence(seed, spawn_key=(plan.index, 1))
    rng = np.random.default_rng(sequence)
    parcels = patterns.draw_parcels(rng, rng.uniform(9, 17), rng.uniform(0, np.pi))
    codes = landscape.land_cover(plan.scene, parcels, rng)
    month = int(plan.acquisition.time[4:6])
    images = synthesis.render(plan.scene, codes, parcels, month, rng)
    found = tuple(np.unique(codes).tolist())
    name_s2 = plan.name_s2(version)
    folders = dict(zip(("S2", "S1"), FOLDERS[version], strict=True))
    paths = {
        sensor: _patch_folder(root / folder, name, version)
        for (sensor, folder), name in zip(
            folders.items(), (name_s2, plan.name_s1), strict=True
        )
    }
    for path in paths.values():
        path.mkdir(parents=True)
    for band_name, image in images.items():
        path = paths[bands.BANDS[band_name].sensor]
        data = _geotiff(image, plan.site.epsg, plan.corner)
        (path / f"{path.name}_{band_name}.tif").write_bytes(data)
    if version == "v1":
        for sensor, path in paths.items():
            content = json.dumps(_v1_json(plan, sensor, found))
            (path / f"{path.name}_labels_metadata.json").write_text(
                content, encoding="utf-8"
            )
    else:
        path = _patch_folder(root / MAPS_FOLDER, name_s2, version)
        path.mkdir(parents=True)
        data = _encode_map(codes, plan.site.epsg, plan.corner)
        (path / f"{name_s2}_reference_map.tif").write_bytes(data)
    return found


def _patch_folder(root: Path, name: str, version: Version) -> Path:
    return root / name if version == "v1" else root / names.tile_folder(name) / name


@lru_cache(maxsize=64)
def _template(pixels: int, dtype: str, epsg: int) -> tuple[bytes, int, int]:
    """Returns a GeoTIFF of zeros at 0 E 0 N, and where in it the place and pixels are.

    All files of a kind differ in those only: filling them in is 6 times faster than
    encoding each.
    """
    stream = BytesIO()
    tifffile.imwrite(
        stream,
        np.zeros((pixels, pixels), dtype),
        **_tags(pixels, np.dtype(dtype).itemsize, epsg, (0, 0)),
    )
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        tie_point, offset = page.tags[33922].valueoffset, page.dataoffsets[0]
    return stream.getvalue(), tie_point + struct.calcsize("<3d"), offset


def _tags(
    pixels: int, itemsize: int, epsg: int, corner: tuple[int, int]
) -> dict[str, Any]:
    """Returns what tifffile needs to write a single band as the genuine files are.

    The tags of the georeference: pixel scale, tie point, GeoKeys (projected, pixel is
    area, citation, EPSG code, metres), citation (GeoTIFF 1.0, section 2.4).
    """
    metres = bands.PATCH_METRES / pixels
    citation = f"WGS 84 / UTM zone {epsg - 32_600}N|WGS 84|"
    first, second = (len(part) + 1 for part in citation.split("|")[:2])
    keys = (
        *(1, 1, 0, 7),
        *(1024, 0, 1, 1),
        *(1025, 0, 1, 1),
        *(1026, 34737, first, 0),
        *(2049, 34737, second, first),
        *(2054, 0, 1, 9102),
        *(3072, 0, 1, epsg),
        *(3076, 0, 1, 9001),
    )
    return {
        "byteorder": "<",
        "photometric": "minisblack",
        "metadata": None,
        "software": geotiff.GENERATED_SOFTWARE,
        "rowsperstrip": min(pixels, STRIP_BYTES // (pixels * itemsize)),
        "extratags": [
            (33550, 12, 3, (metres, metres, 0.0), True),
            (33922, 12, 6, (0.0, 0.0, 0.0, *map(float, corner), 0.0), True),
            (34735, 3, len(keys), keys, True),
            (34737, 2, 0, citation, True),
        ],
    }


def _geotiff(image: NDArray[Any], epsg: int, corner: tuple[int, int]) -> bytes:
    """Returns one band as an uncompressed GeoTIFF."""
    template, tie_point, offset = _template(len(image), image.dtype.name, epsg)
    data = bytearray(template)
    struct.pack_into("<2d", data, tie_point, *corner)
    data[offset : offset + image.nbytes] = image.astype(
        image.dtype.newbyteorder("<")
    ).tobytes()
    return bytes(data)


def _encode_map(codes: NDArray[np.uint16], epsg: int, corner: tuple[int, int]) -> bytes:
    """Returns a reference map: deflate, horizontal differences, 0 for no data."""
    stream = BytesIO()
    tags = _tags(len(codes), codes.itemsize, epsg, corner)
    tags["extratags"].append((42113, 2, 0, "0", True))
    tifffile.imwrite(stream, codes, compression="deflate", predictor=2, **tags)
    return stream.getvalue()


def _v1_json(plan: Plan, sensor: str, codes: Sequence[int]) -> dict[str, Any]:
    """Returns the content of a `*_labels_metadata.json`, its genuine faults included.

    The files of Sentinel-1 call the lower edge `lly`.
    """
    west, north = plan.corner
    acquisition = plan.acquisition
    content = {
        "labels": [
            label.name
            for label in labels.ORIGINAL_TABLE
            if not set(label.clc_codes).isdisjoint(codes)
        ],
        "coordinates": {
            "ulx": west,
            "uly": north,
            "lrx": west + bands.PATCH_METRES,
            "lry" if sensor == "S2" else "lly": north - bands.PATCH_METRES,
        },
        "projection": _projection(plan.site.epsg),
    }
    if sensor == "S2":
        start = f"{acquisition.time}_N0205_{acquisition.orbit}_T{plan.site.tile}"
        time = datetime.strptime(acquisition.time, "%Y%m%dT%H%M%S")
        return content | {
            "tile_source": (
                f"{acquisition.satellite}_MSIL1C_{start}_{acquisition.time}.SAFE"
            ),
            "acquisition_date": time.isoformat(" "),
        }
    start = acquisition.scene.rsplit("_", 1)[1]
    return content | {
        "corresponding_s2_patch": plan.name_s2("v1"),
        "scene_source": f"{acquisition.scene}_{start}_000000_000000_0000",
        "acquisition_time": datetime.strptime(start, "%Y%m%dT%H%M%S").isoformat(),
    }


@lru_cache(maxsize=16)
def _projection(epsg: int) -> str:
    return str(CRS.from_epsg(epsg).to_wkt())


def _write_lists(root: Path, drawn: Sequence[Plan]) -> None:
    """Writes `train.csv`, `val.csv` and `test.csv`, each if it has a patch."""
    for split in dict.fromkeys(plan.split for plan in drawn):
        splits.write_split_csv(
            root / f"{split}.csv",
            [
                PatchEntry(plan.name_s2("v1"), plan.name_s1)
                for plan in drawn
                if plan.split == split
            ],
        )


def _write_metadata(
    path: Path, drawn: Sequence[Plan], codes: Sequence[tuple[int, ...]]
) -> None:
    """Writes `metadata.parquet` with the genuine columns, rows sorted by name."""
    names_of_labels = labels.LABELS[labels.BIGEARTHNET_19]
    rows = [
        {
            "patch_id": plan.name_s2("v2"),
            "labels": sorted(
                {
                    names_of_labels[index]
                    for index in map(labels.CLC_TO_19.__getitem__, found)
                    if index is not None
                }
            ),
            "split": _V2_SPLITS[plan.split],
            "country": plan.scene.country,
            "s1_name": plan.name_s1,
            "s2v1_name": plan.name_s2("v1"),
            "contains_seasonal_snow": False,
            "contains_cloud_or_shadow": False,
        }
        for plan, found in zip(drawn, codes, strict=True)
    ]
    rows.sort(key=lambda row: str(row["patch_id"]))
    table = pa.Table.from_pylist(rows)
    parquet.write_table(table, path, compression="zstd")


def _readme(patches: int, version: Version, seed: int) -> str:
    return f"""\
GENERATED DATA - these are not satellite images.

{patches} patches in the layout of BigEarthNet {version}, written by bigearthnet_tf with
seed {seed}. Every pixel and every land-cover map is drawn from a random generator
(bigearthnet_tf/archive/synthesis.py says how): spectra and backscatter are approximate
values after published typical curves, label frequencies and co-occurrences are those of
BigEarthNet v2, tiles, dates and the form of the names are genuine. A patch of the real
archive with one of these names has nothing to do with the one here.

For trying out software. Accuracies measured on it say nothing about the real archive.
"""
