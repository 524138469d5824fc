"""Patches to score, from folders, archives, an LMDB or records, batch by batch.

Labels are not asked for: archives of version 2 need their metadata for the pairs of
Sentinel-2 and Sentinel-1 alone.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive import (
    archives,
    lmdb_file,
    lmdb_store,
    metadata,
    names,
    roots,
    splits,
)
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive.bands import BANDS, Sensor
from bigearthnet_tf.archive.patch import PatchEntry
from bigearthnet_tf.records import damage, reader, storage

_THREADS = 4
_WILDCARDS = set("*?[")

Pixels = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """Some patches.

    Attributes:
        names: of the patches: Sentinel-2, or Sentinel-1 where there is no other.
        names_s1: of their partners, empty where they are not known.
        groups: band groups as stored, (batch, bands, rows, columns) by name.
    """

    names: list[str]
    names_s1: list[str]
    groups: Pixels


@dataclass(frozen=True, eq=False)
class PatchSource:
    """Patches that are read in the order of their list, archive or records.

    Attributes:
        num_patches: number of them.
        batches: from the size of a batch to batches.
    """

    num_patches: int
    batches: Callable[[int], Iterator[PatchBatch]]


def open_source(
    sources: Sequence[str],
    bands: Sequence[str],
    *,
    s1: str | None = None,
    tables: Sequence[Path] = (),
    lists: Sequence[Path] = (),
) -> PatchSource:
    """Finds patches.

    Args:
        sources: records (paths, wildcards allowed, or a folder of them), folders of
            patches, or one of these: the root of an archive, the folder of an LMDB.
        bands: what is needed of each patch.
        s1: root or LMDB of Sentinel-1, or the folder of one patch of it.
        tables: metadata of version 2, for the pairs.
        lists: CSV files of patches; all that are there without.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: the source lacks a band, a sensor or the pairs, or is of a kind
            that an option does not go with.
    """
    kind = _kind(sources[0])
    others = [source for source in sources if _kind(source) != kind]
    if others and kind == "patch" and Path(others[0]).is_file():
        raise ValueError(
            f"{others[0]}: a file beside the folders of patches: leave it out, or give "
            "the root of the archive and a list with --patches"
        )
    if others or (len(sources) > 1 and kind in ("archive", "lmdb")):
        raise ValueError(
            f"{sources[0]} is {_KINDS[kind]}: expected one archive or LMDB, or several "
            f"records or patches, got also {(others or sources[1:])[0]}"
        )
    if kind in ("records", "patch") and (tables or lists):
        raise ValueError(
            f"{sources[0]} is {_KINDS[kind]}: lists and metadata are for archives and "
            "LMDBs"
        )
    if kind == "records" and s1 is not None:
        raise ValueError(
            f"{sources[0]} is {_KINDS[kind]}, which has its own Sentinel-1: leave --s1 "
            "out"
        )
    if kind == "records":
        return _of_records(sources, bands)
    if kind == "patch":
        return _of_patches([Path(source) for source in sources], bands, s1)
    table = metadata.read_tables(tables) if tables else None
    if kind == "lmdb":
        return _of_lmdb(Path(sources[0]), bands, s1, table, lists)
    return _of_archive(Path(sources[0]), bands, s1, table, lists)


_KINDS = {
    "records": "TFRecords",
    "patch": "the folder of a patch",
    "lmdb": "an LMDB",
    "archive": "the root of an archive",
}


def _kind(source: str) -> str:
    """Returns the key of `_KINDS` that a path is of."""
    if storage.is_remote(source):
        return "records"
    path = Path(source)
    if not path.exists():
        if _WILDCARDS & set(source):
            return "records"
        raise FileNotFoundError(f"{source}: no such file or folder")
    if path.is_file() or next(path.glob("*.tfrecord"), None):
        return "records"
    if (path / lmdb_file.DATA_FILE).is_file():
        return "lmdb"
    name = glob.escape(path.name)
    own = (path.glob(f"{name}_*{suffix}") for suffix in archives.SUFFIXES)
    return "patch" if any(next(found, None) for found in own) else "archive"


def _of_records(sources: Sequence[str], bands: Sequence[str]) -> PatchSource:
    patterns = [
        storage.join(source, "*.tfrecord") if storage.is_folder(source) else source
        for source in sources
    ]
    found = reader.open_records(patterns)
    found.form.check_bands(tuple(bands), found.files[0])
    return PatchSource(found.num_records, partial(_record_batches, found, bands))


def _record_batches(
    source: reader.RecordSource, bands: Sequence[str], batch_size: int
) -> Iterator[PatchBatch]:
    groups = band_facts.group_bands(bands)
    form = source.form
    features = [name for name in (form.name_s2, form.name_s1) if name is not None]
    spec = {name: tf.io.FixedLenFeature((), tf.string, "") for name in features}
    dataset = (
        tf.data.TFRecordDataset(list(source.files))
        .batch(batch_size)
        .map(lambda rows: _with_texts(source, rows, groups, spec))
        .prefetch(1)
    )
    first = 0
    for images, texts in _read(dataset, source.files):
        count = len(next(iter(images.values())))
        columns = {k: [text.decode() for text in v] for k, v in texts.items()}
        numbered = [f"record {number}" for number in range(first, first + count)]
        partners = columns.get(form.name_s1 or "", [""] * count)
        own = columns.get(form.name_s2 or "", partners if any(partners) else numbered)
        if form.name_s1 is not None:
            reader.check_pairs(source, own, partners, first)
        yield PatchBatch(own, partners, images)
        first += count


def _read(dataset: tf.data.Dataset, files: Sequence[str]) -> Iterator[Any]:
    with damage.reading(lambda: files):
        yield from dataset.as_numpy_iterator()


def _with_texts(
    source: reader.RecordSource,
    rows: tf.Tensor,
    groups: dict[str, tuple[str, ...]],
    spec: dict[str, tf.io.FixedLenFeature],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    images, parsed = reader.decode(source, rows, groups, spec)
    return images, {name: parsed[name] for name in spec}


def _of_patches(
    folders: Sequence[Path], bands: Sequence[str], s1: str | None
) -> PatchSource:
    if s1 is not None and len(folders) > 1:
        raise ValueError(
            f"--s1 {s1} is the partner of one patch, but {len(folders)} are given: "
            "give the roots of the archive and a list"
        )
    needed = _sensors(bands)
    if s1 is None and len(needed) > 1:
        raise ValueError(
            f"{folders[0]}: the model needs {', '.join(bands)}: give the folder of "
            "the Sentinel-1 partner with --s1"
        )

    def read(folder: Path) -> tuple[str, str, Pixels]:
        places: dict[Sensor, Path] = dict.fromkeys(needed, folder)
        if s1 is not None:
            places["S1"] = Path(s1)
        return folder.name, Path(s1 or "").name, archives.read_bands(places, bands)

    return PatchSource(len(folders), partial(_batches, read, folders, bands, _THREADS))


def _of_archive(
    root: Path,
    bands: Sequence[str],
    s1: str | None,
    table: pd.DataFrame | None,
    lists: Sequence[Path],
) -> PatchSource:
    needed = _sensors(bands)
    if s1 is None and _is_of_s1(root):
        archive = archives.open_archive(None, root, metadata=table)
    else:
        archive = archives.open_archive(root, s1, metadata=table)
    roots = {"S2": archive.root_s2, "S1": archive.root_s1}
    lacking = [sensor for sensor in needed if roots[sensor] is None]
    if lacking:
        remedy = "give its root with --s1" if lacking == ["S1"] else "give its root"
        raise ValueError(
            f"{root}: the model needs {', '.join(bands)}, but no root of {lacking[0]} "
            f"is given: {remedy}"
        )
    entries = _listed(lists) or _all_of(archive)
    if "S1" in needed and archive.version == "v2":
        entries = archive.complete(entries)

    def read(entry: PatchEntry) -> tuple[str, str, Pixels]:
        patch = archive.read(entry, bands)
        return entry.name, patch.name_s1 or "", patch.bands

    return PatchSource(len(entries), partial(_batches, read, entries, bands, _THREADS))


def _is_of_s1(root: Path) -> bool:
    sensors = roots.look(root).sensors
    if len(sensors) > 1:
        raise ValueError(
            f"{root}: holds patches of Sentinel-1 and of Sentinel-2: name it again "
            "with --s1, or give folders of one sensor"
        )
    return "S1" in sensors


def _all_of(archive: archives.Archive) -> list[PatchEntry]:
    """Returns the patches of an archive, by the names of their folders."""
    root = archive.root_s2 or archive.root_s1
    start = "S1" if archive.root_s2 is None else "S2"
    pattern = f"{start}*" if archive.version == "v1" else f"{start}*/{start}*"
    listed = (path.name for path in Path(str(root)).glob(pattern))
    found = sorted(filter(names.is_patch_name, listed))
    if not found:
        raise ValueError(f"{root}: expected patches, found none")
    return [_entry(name) for name in found]


def _entry(name: str, partner: str | None = None) -> PatchEntry:
    """Returns a patch that nobody looks up labels for."""
    if names.parse_name(name).sensor == "S1":
        partner = name
    return PatchEntry(name, partner, labels=(), label_type=label_facts.BIGEARTHNET_19)


def _listed(lists: Sequence[Path]) -> list[PatchEntry]:
    found = splits.read_split_lists(lists)
    return [_entry(own.name, own.name_s1) for part in found.values() for own in part]


def _of_lmdb(
    path: Path,
    bands: Sequence[str],
    s1: str | None,
    table: pd.DataFrame | None,
    lists: Sequence[Path],
) -> PatchSource:
    needed = _sensors(bands)
    archive = lmdb_store.open_lmdb(
        path, table, other=s1, sensors=list(needed), reference_maps=False
    )
    lacking = [name for name in bands if name not in archive.bands]
    if lacking:
        raise ValueError(
            f"{path}: the model needs {', '.join(bands)}, but the LMDB lacks "
            f"{', '.join(lacking)}"
        )
    entries = _listed(lists) or [_entry(name) for name in archive.names()]
    if "S1" in needed:
        entries = archive.complete(entries)

    def read(entry: PatchEntry) -> tuple[str, str, Pixels]:
        patch = archive.read(entry, bands)
        return entry.name, patch.name_s1 or "", patch.bands

    # One thread: an LMDB is read as fast as memory is.
    return PatchSource(len(entries), partial(_batches, read, entries, bands, 1))


def _sensors(bands: Sequence[str]) -> dict[Sensor, list[str]]:
    """Returns the bands of each sensor."""
    found: dict[Sensor, list[str]] = {}
    for name in bands:
        found.setdefault(BANDS[name].sensor, []).append(name)
    return found


def _batches(
    read: Callable[[Any], tuple[str, str, Pixels]],
    entries: Sequence[Any],
    bands: Sequence[str],
    threads: int,
    batch_size: int,
) -> Iterator[PatchBatch]:
    """Yields batches, of which the next is read meanwhile."""
    groups = band_facts.group_bands(bands)
    waiting: deque[list[Future[tuple[str, str, Pixels]]]] = deque()

    def take() -> PatchBatch:
        rows = [future.result() for future in waiting.popleft()]
        own, partners, pixels = zip(*rows, strict=True)
        stacked = {
            name: np.stack([np.stack([p[band] for band in members]) for p in pixels])
            for name, members in groups.items()
        }
        return PatchBatch(list(own), list(partners), stacked)

    pool = ThreadPoolExecutor(threads)
    try:
        for first in range(0, len(entries), batch_size):
            some = entries[first : first + batch_size]
            waiting.append([pool.submit(read, entry) for entry in some])
            if len(waiting) > 1:
                yield take()
        if waiting:
            yield take()
    finally:
        pool.shutdown(cancel_futures=True)
