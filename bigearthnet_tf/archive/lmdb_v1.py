"""The LMDBs of BigEarthNet v1 as a source of patches.

That of bigearthnet_encoder holds both sensors under the Sentinel-2 name; the CBIR
project has one LMDB a sensor, under its own names. What the values hold says
`lmdb_v1_values`. Neither holds pairs: the Sentinel-1 name of a patch is known where the
list says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import lmdb_file, lmdb_v1_values, names, pairs, patch_values
from bigearthnet_tf.archive.bands import BANDS, Sensor, resolve_bands
from bigearthnet_tf.archive.lmdb_v1_values import Value
from bigearthnet_tf.archive.patch import Patch, PatchEntry

_SENSORS: tuple[Sensor, ...] = ("S2", "S1")


@dataclass(frozen=True)
class _Store:
    """Where the patches of a sensor are.

    Attributes:
        source: the LMDB.
        keys: of which sensor's names its keys are.
    """

    source: lmdb_file.Snapshot
    keys: Sensor

    def key(self, entry: PatchEntry) -> str:
        """Returns the key of a patch."""
        is_radar = self.keys == "S1" and names.parse_name(entry.name).sensor == "S2"
        if not is_radar:
            return entry.name
        if entry.name_s1 is None:
            raise ValueError(
                f"{self.source.path}: has Sentinel-1 under its own names, but that of "
                f"{entry.name} is not known: give a list of S2 and S1 names"
            )
        return entry.name_s1


class LmdbV1Archive:
    """Reads patches from LMDBs of v1; made by `lmdb_store.open_lmdb`.

    Opened like those of v2: mapped into memory with the first reading in each process.

    Attributes:
        version: `"v1"`.
        bands: the bands of each patch, in channel order.
        label_types: the nomenclatures that each patch carries.
    """

    version = "v1"

    def __init__(
        self,
        stores: dict[Sensor, _Store],
        bands: tuple[str, ...],
        label_types: tuple[str, ...],
    ) -> None:
        self.bands, self.label_types = bands, label_types
        self._stores = stores

    @property
    def path(self) -> Path:
        """The folder with `data.mdb`; that of Sentinel-2 where there are two."""
        return self._leading.source.path

    @property
    def origin(self) -> tuple[str, ...]:
        """The files as absolute paths, with size and when they were written."""
        return tuple(fact for source in self._sources for fact in source.origin)

    def stamp(self, entry: PatchEntry) -> str:
        """Returns the patch with the size of the LMDBs and when they were written."""
        return " ".join((entry.name, *(source.stamp() for source in self._sources)))

    def complete(self, entries: Iterable[PatchEntry]) -> list[PatchEntry]:
        """Returns entries as they are, if what is read can be found by their names.

        Raises:
            ValueError: the Sentinel-1 name is needed and not known, or is no partner.
        """
        entries = list(entries)
        for entry in entries:
            pairs.check(entry.name, entry.name_s1)
            for store in self._stores.values():
                store.key(entry)
        return entries

    def names(self) -> list[str]:
        """Returns the names of the patches that are there, in the order of their keys.

        Those of Sentinel-2; of Sentinel-1 where that alone is there under its names.

        Raises:
            OSError: another process writes to the LMDB.
        """
        with self._leading.source.transaction() as transaction:
            return list(lmdb_file.names_of(transaction, self._leading.keys))

    def read(self, entry: PatchEntry, bands: Sequence[str] | None = None) -> Patch:
        """Returns a patch with its pixels and labels.

        Args:
            entry: the patch; its own labels go before those of the value.
            bands: what to read, in that order; None for all that are there.

        Returns:
            The patch, which has no `geo`; its Sentinel-1 name is that of the entry.

        Raises:
            OSError: another process writes to the LMDB.
            ValueError: a value is missing, damaged or hostile, or the labels are
                unknown; the message names patch, key and path.
        """
        wanted = self.bands if bands is None else resolve_bands(bands)
        pairs.check(entry.name, entry.name_s1, self.path)
        sensors = dict.fromkeys(BANDS[name].sensor for name in wanted)
        values = dict(self._load(entry, list(sensors)))
        pixels = {name: values[BANDS[name].sensor].band(name) for name in wanted}
        own_labels, label_type = self._labels(entry, list(values.values()))
        return Patch(
            name_s2=entry.name if entry.name != entry.name_s1 else None,
            name_s1=entry.name_s1,
            bands=patch_values.of_patch(pixels, entry.name, self.path),
            labels=own_labels,
            label_type=label_type,
        )

    @property
    def _leading(self) -> _Store:
        return next(self._stores[s] for s in _SENSORS if s in self._stores)

    @property
    def _sources(self) -> list[lmdb_file.Snapshot]:
        return list(dict.fromkeys(store.source for store in self._stores.values()))

    def _load(
        self, entry: PatchEntry, sensors: Sequence[Sensor]
    ) -> Iterator[tuple[Sensor, Value]]:
        """Yields the value of each sensor, which may be one value for both."""
        known: dict[_Store, Value] = {}
        for sensor in sensors:
            if sensor not in self._stores:
                raise ValueError(f"{self.path}: holds no patch of {sensor}")
            store = self._stores[sensor]
            if store not in known:
                known[store] = _read(store, entry)
            yield sensor, known[store]

    def _labels(
        self, entry: PatchEntry, values: Sequence[Value]
    ) -> tuple[tuple[str, ...], str]:
        """Returns the labels of a patch, which both values must have."""
        if entry.labels is not None:
            return entry.labels, label_facts.canonical_label_type(str(entry.label_type))
        for value in values:
            if value.label_type != self.label_types[0]:
                raise ValueError(
                    f"{value.where}: expected labels of {self.label_types[0]!r} as in "
                    f"the first patch, got {value.label_type!r}: keep LMDBs of "
                    "different programs apart"
                )
            if set(value.known_labels()) != set(values[0].known_labels()):
                raise ValueError(
                    f"{value.where}: has other labels than {values[0].where}: they "
                    "are of one place and should agree; leave the patch out of the list"
                )
        return values[0].known_labels(), values[0].label_type


def holds(source: lmdb_file.Snapshot) -> bool:
    """Tells whether an LMDB is one of v1, by the first patch in it."""
    with source.transaction() as transaction:
        for sensor in _SENSORS:
            name = next(lmdb_file.names_of(transaction, sensor), None)
            if name is not None:
                stored = bytes(transaction.get(name.encode(), b""))
                return lmdb_v1_values.is_pickle(stored)
    return False


def open_v1(
    sources: Sequence[lmdb_file.Snapshot], sensors: Sequence[Sensor] | None = None
) -> LmdbV1Archive:
    """Returns a reader of one LMDB, or of two that have a sensor each.

    Args:
        sources: the LMDBs.
        sensors: `"S1"`, `"S2"` or both; None for those that are there.

    Raises:
        OSError: another process writes to an LMDB.
        ValueError: the first patch can't be read, is not of v1, a sensor is missing, or
            both LMDBs have it.
    """
    stores: dict[Sensor, _Store] = {}
    firsts: list[Value] = []
    for source in sources:
        for store, value in _first_values(source):
            found = dict.fromkeys(BANDS[name].sensor for name in value.arrays)
            both = [sensor for sensor in found if sensor in stores]
            if both:
                raise ValueError(
                    f"{value.where}: has {both[0]}, and so has "
                    f"{stores[both[0]].source.path}: give an LMDB of each sensor, or "
                    "one of both"
                )
            stores |= dict.fromkeys(found, store)
            firsts.append(value)
    wanted = sensors or _SENSORS
    missing = [sensor for sensor in wanted if sensor not in stores]
    if sensors and missing:
        raise ValueError(
            f"{sources[0].path}: holds no patch of {missing[0]}: leave that sensor "
            "out, or give an LMDB that has it"
        )
    present = {name for value in firsts for name in value.arrays}
    return LmdbV1Archive(
        {sensor: stores[sensor] for sensor in wanted if sensor in stores},
        tuple(b for b in BANDS if b in present and BANDS[b].sensor in wanted),
        label_facts.GIVEN_BY[firsts[0].label_type],
    )


def _first_values(source: lmdb_file.Snapshot) -> Iterator[tuple[_Store, Value]]:
    """Yields the first value under the names of each sensor."""
    with source.transaction() as transaction:
        for sensor in _SENSORS:
            name = next(lmdb_file.names_of(transaction, sensor), None)
            if name is not None:
                _check_version(name, source.path)
                where = f"{source.path}: key {name}"
                stored = bytes(transaction.get(name.encode(), b""))
                yield _Store(source, sensor), lmdb_v1_values.decode(stored, where)


def _check_version(name: str, path: Path) -> None:
    """Refuses pickles under names of v2."""
    try:
        version = names.parse_name(name).version
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if version == "v2":
        raise ValueError(
            f"{path}: holds pickles, as the LMDBs of v1, but {name} is a name of v2: "
            "encode the patches again with rico-hdl, or give the GeoTIFFs"
        )


def _read(store: _Store, entry: PatchEntry) -> Value:
    """Returns the value of a patch."""
    key = store.key(entry)
    patch = "" if key == entry.name else f"patch {entry.name}, "
    where = f"{store.source.path}: {patch}key {key}"
    with store.source.transaction() as transaction:
        stored = _get(transaction, key)
    if stored is None:
        remedy = "leave the patch out of the list"
        if names.parse_name(entry.name).version == "v2":
            remedy = "it is a name of v2, is the list one of the other version?"
        raise ValueError(f"{where}: no such key: {remedy}")
    return lmdb_v1_values.decode(stored, where)


def _get(transaction: lmdb.Transaction, key: str) -> bytes | None:
    stored = transaction.get(key.encode())
    return None if stored is None else bytes(stored)
