"""LMDBs of BigEarthNet as a source of patches: that of v2, and the door to those of v1.

rico-hdl writes that of v2 and the reBEN tools read it: a folder with `data.mdb`, which
holds a value for each patch and sensor, see `lmdb_values`. Labels and pairs are in
`metadata.parquet`. LMDBs of v1 are recognised by their values, see `lmdb_v1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import lmdb
import pandas as pd

from bigearthnet_tf.archive import (
    labels,
    lmdb_file,
    lmdb_v1,
    lmdb_values,
    names,
    pairs,
    patch_values,
)
from bigearthnet_tf.archive.bands import BANDS, Sensor, resolve_bands
from bigearthnet_tf.archive.catalogue import Catalogue
from bigearthnet_tf.archive.lmdb_v1 import LmdbV1Archive
from bigearthnet_tf.archive.lmdb_values import MAP_SUFFIX, Value, map_key
from bigearthnet_tf.archive.patch import Patch, PatchEntry

_SENSORS: tuple[Sensor, ...] = ("S1", "S2")


def open_lmdb(
    path: Path | str,
    metadata: pd.DataFrame | None = None,
    *,
    other: Path | str | None = None,
    sensors: Sequence[Sensor] | None = None,
    reference_maps: bool | None = None,
) -> LmdbArchive | LmdbV1Archive:
    """Returns a reader of an LMDB; what it holds follows from its first keys.

    Args:
        path: the folder with `data.mdb`.
        metadata: table of `metadata.read_metadata`, for v2. Not needed for entries
            that come from that table.
        other: the LMDB of the other sensor; v1 only.
        sensors: `"S1"`, `"S2"` or both; None for those that are there.
        reference_maps: whether each patch comes with its reference map, v2 only; None
            if all have one.

    Raises:
        FileNotFoundError: no such folder, or no LMDB in it.
        OSError: no permission to read it, or another process writes to it.
        ValueError: damaged, cut short, without patches, of another form, or without a
            sensor that is asked for; some patches have a reference map and others
            none; or of v1 and given with metadata or maps of v2, or the reverse.
    """
    source = lmdb_file.Snapshot(Path(path))
    if lmdb_v1.holds(source):
        if metadata is not None or reference_maps:
            what = "the reference maps" if metadata is None else "the metadata"
            raise ValueError(
                f"{path}: is an LMDB of v1, which has its labels in it: leave {what} "
                "of v2 out, and give lists of its patches"
            )
        others = [] if other is None else [lmdb_file.Snapshot(Path(other))]
        return lmdb_v1.open_v1([source, *others], sensors)
    if other is not None:
        raise ValueError(
            f"{path}: is an LMDB of v2, which has its own Sentinel-1: leave {other} out"
        )
    with source.transaction() as transaction:
        bands = _find_bands(transaction, sensors, source.path)
        if reference_maps is None:
            reference_maps = _all_have_maps(transaction, source.path)
    return LmdbArchive(source, bands, reference_maps, metadata)


class LmdbArchive:
    """Reads patches from an LMDB; made by `open_lmdb`.

    The file is mapped into memory with the first reading in each process, without
    locks: read-only media and any number of processes will do. Memory: one patch, and
    what the system keeps of the file as long as nobody else needs the room. A pickled
    reader leaves the map and the metadata table behind: `complete` the entries before
    they go to another process.

    Attributes:
        version: `"v2"`.
        label_types: the 19 labels alone.
        bands: the bands of each patch, in channel order.
        reference_maps: whether each patch comes with its reference map.
    """

    version = "v2"
    label_types = labels.GIVEN_BY[labels.BIGEARTHNET_19]

    def __init__(
        self,
        source: lmdb_file.Snapshot,
        bands: tuple[str, ...],
        reference_maps: bool,
        metadata: pd.DataFrame | None = None,
    ) -> None:
        self.bands, self.reference_maps = bands, reference_maps
        self._source = source
        self._catalogue = Catalogue(metadata)

    @property
    def path(self) -> Path:
        """The folder with `data.mdb`."""
        return self._source.path

    @property
    def origin(self) -> tuple[str, ...]:
        """The file as an absolute path, with its size and when it was written."""
        return self._source.origin

    def stamp(self, entry: PatchEntry) -> str:
        """Returns the patch with the size of the LMDB and when it was written."""
        return f"{entry.name} {self._source.stamp()}"

    def complete(self, entries: Iterable[PatchEntry]) -> list[PatchEntry]:
        """Returns entries with labels, partner, split and country, from the metadata.

        What an entry says already stays.

        Raises:
            ValueError: a patch is not in the metadata, or the metadata is missing.
        """
        return self._catalogue.complete(entries, pairing="S1" in _sensors(self.bands))

    def entries(self) -> list[PatchEntry]:
        """Returns the patches that are there, completed, in the order of their keys.

        What counts is the value of Sentinel-2, or of Sentinel-1 where that alone is
        read. Goes through the keys only: seconds for the whole archive.

        Raises:
            OSError: another process writes to the LMDB.
            ValueError: as `complete`.
        """
        found = self.names()
        if "S2" not in _sensors(self.bands):
            return self._catalogue.entries_of_partners(found)
        return self.complete(map(PatchEntry, found))

    def names(self) -> list[str]:
        """Returns the names of the patches that are there, in the order of their keys.

        Those of Sentinel-2, or of Sentinel-1 where that alone is read.

        Raises:
            OSError: another process writes to the LMDB.
        """
        leading: Sensor = "S2" if "S2" in _sensors(self.bands) else "S1"
        with self._source.transaction() as transaction:
            return list(_names(transaction, leading))

    def read(self, entry: PatchEntry, bands: Sequence[str] | None = None) -> Patch:
        """Returns a patch with its pixels and labels.

        Args:
            entry: the patch; see `complete`.
            bands: what to read, in that order; None for all that are there.

        Returns:
            The patch, its arrays copied out of the LMDB, which has no `geo`.

        Raises:
            OSError: another process writes to the LMDB.
            ValueError: a value is missing or damaged, or labels or partner are
                unknown; the message names patch, key and path.
        """
        wanted = self.bands if bands is None else resolve_bands(bands)
        sensors = _sensors(wanted)
        partner = (
            self._catalogue.partner_of(entry) if "S1" in sensors else entry.name_s1
        )
        pairs.check(entry.name, partner, self.path)
        keys = {"S2": entry.name, "S1": str(partner)}
        codes = None
        with self._source.transaction() as transaction:
            values = {s: self._load(transaction, entry, keys[s]) for s in sensors}
            if bands is None:
                self._check_alike(values.values())
            if self.reference_maps:
                codes = self._load(transaction, entry, map_key(entry.name)).codes()
        own_labels, label_type = self._catalogue.labels_of(entry)
        pixels = {name: values[BANDS[name].sensor].band(name) for name in wanted}
        return Patch(
            name_s2=entry.name,
            name_s1=partner,
            bands=patch_values.of_patch(pixels, entry.name, self.path),
            labels=own_labels,
            label_type=label_type,
            reference_map=codes,
            generated=(self.path / lmdb_values.GENERATED_FILE).exists(),
        )

    def _check_alike(self, values: Iterable[Value]) -> None:
        """Refuses values with more bands than the first, which stands for all."""
        for value in values:
            excess = [name for name in value.arrays if name not in self.bands]
            if excess:
                raise ValueError(
                    f"{value.where}: has {' '.join(excess)} too, the first patch of "
                    f"the LMDB {' '.join(self.bands)} alone: encode all alike, or "
                    "leave this one out of the list"
                )

    def _load(
        self, transaction: lmdb.Transaction, entry: PatchEntry, key: str
    ) -> Value:
        patch = "" if key == entry.name else f"patch {entry.name}, "
        where = f"{self.path}: {patch}key {key}"
        stored = transaction.get(key.encode())
        if stored is None:
            raise ValueError(f"{where}: no such key: {_remedy(entry, key)}")
        return Value.decode(bytes(stored), where)


def _sensors(bands: Iterable[str]) -> tuple[Sensor, ...]:
    return tuple(dict.fromkeys(BANDS[name].sensor for name in bands))


def _names(transaction: lmdb.Transaction, sensor: Sensor) -> Iterator[str]:
    """Yields the names of a sensor's patches in their order."""
    for name in lmdb_file.names_of(transaction, sensor):
        if not name.endswith(MAP_SUFFIX):
            yield name


def _find_bands(
    transaction: lmdb.Transaction, sensors: Sequence[Sensor] | None, path: Path
) -> tuple[str, ...]:
    """Returns the bands of the first patch of each sensor, in channel order."""
    found: set[str] = set()
    for sensor in sensors or _SENSORS:
        name = next(_names(transaction, sensor), None)
        if name is not None:
            stored = bytes(transaction.get(name.encode(), b""))
            _check_version(name, stored, path)
            found |= Value.decode(stored, f"{path}: key {name}").arrays.keys()
        elif sensors:
            raise ValueError(
                f"{path}: holds no patch of {sensor}: leave that sensor out, or give "
                "an LMDB that has it"
            )
    bands = tuple(name for name in BANDS if name in found)
    if not bands:
        key = next(transaction.cursor().iternext(values=False), None)
        got = "it is empty" if key is None else f"its first key is {bytes(key)!r}"
        raise ValueError(
            f"{path}: expected an LMDB of BigEarthNet v2, whose keys are names of "
            f"patches, but {got}"
        )
    return bands


def _all_have_maps(transaction: lmdb.Transaction, path: Path) -> bool:
    """Tells by all keys, in seconds, whether all patches have maps, or none."""
    patches = maps = 0
    for key in transaction.cursor().iternext(values=False):
        name = bytes(key)
        if name.startswith(b"S2"):
            is_map = name.endswith(MAP_SUFFIX.encode())
            patches, maps = patches + (not is_map), maps + is_map
    if 0 < maps < patches:
        raise ValueError(
            f"{path}: {maps} of {patches} patches have a reference map: say whether to "
            "read them (reference_maps), and if so, leave out the others"
        )
    return bool(maps)


def _check_version(name: str, stored: bytes, path: Path) -> None:
    """Refuses names of v1, whose values are no pickles."""
    try:
        version = names.parse_name(name).version
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if version == "v1":
        is_v2 = stored[8:9] == b"{"
        found = (
            "arrays in safetensors form, as v2 alone has: restore the names of v2"
            if is_v2
            else lmdb_values.judge(stored)
        )
        raise ValueError(
            f"{path}: {name} is a name of v1: expected a pickle of bigearthnet_encoder "
            f"or the CBIR project, got {found}"
        )


def _remedy(entry: PatchEntry, key: str) -> str:
    if names.parse_name(entry.name).version == "v1":
        return "it is a name of v1, is the list one of the other version?"
    leave = "leave the patch out of the list"
    if key.endswith(MAP_SUFFIX):
        return f"do without reference maps, or {leave}"
    if key != entry.name:
        return f"encode that Sentinel-1 patch, do without Sentinel-1, or {leave}"
    return f"encode that patch, or {leave}"
