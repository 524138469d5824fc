"""A BigEarthNet archive of either version as a reader of patches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigearthnet_tf.archive import geotiff, labels, names, pairs, placement, roots
from bigearthnet_tf.archive.bands import BANDS, Sensor, resolve_bands
from bigearthnet_tf.archive.catalogue import Catalogue
from bigearthnet_tf.archive.metadata import PatchMetadata, read_v1_json
from bigearthnet_tf.archive.patch import GeoReference, Patch, PatchEntry

T = TypeVar("T")

# TorchGeo and the archives write .tif, the sample of the reBEN scripts has .tiff.
SUFFIXES = (".tif", ".tiff")
_MAP = "reference_map"


def open_archive(
    root_s2: Path | str | None,
    root_s1: Path | str | None = None,
    *,
    metadata: pd.DataFrame | None = None,
    maps_root: Path | str | None = None,
) -> Archive:
    """Returns a reader of an archive; its version follows from the folder names.

    Args:
        root_s2: folder of Sentinel-2 (`BigEarthNet-v1.0`, `BigEarthNet-S2`), or None.
        root_s1: folder of Sentinel-1 (`BigEarthNet-S1-v1.0`, `BigEarthNet-S1`), or
            None.
        metadata: table of `metadata.read_metadata`; v2 only, which has its labels
            and pairs there. Not needed for entries that come from that table.
        maps_root: folder of the reference maps (`Reference_Maps`); v2 only.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: no folder given, no patches in one, folders of two versions, or
            metadata or maps for v1.
    """
    given = [Path(root) for root in (root_s2, root_s1, maps_root) if root is not None]
    if root_s2 is None and root_s1 is None:
        raise ValueError("expected the root of Sentinel-2 or Sentinel-1, got neither")
    found = {root: roots.look(root) for root in given}
    version = found[given[0]].version
    if len({root.version for root in found.values()}) > 1:
        listed = ", ".join(f"{path} is {root.version}" for path, root in found.items())
        raise ValueError(f"expected roots of one archive version, but {listed}")
    asked: tuple[tuple[Path | str | None, Sensor], ...]
    asked = ((root_s2, "S2"), (root_s1, "S1"), (maps_root, "S2"))
    for path, sensor in asked:
        if path is not None:
            roots.check_sensor(Path(path), found[Path(path)], sensor)
    if version == "v1" and metadata is not None:
        raise ValueError(
            f"{given[0]} is a v1 archive, which has its labels in JSON files: leave "
            "the metadata of v2 out"
        )
    return Archive(version, root_s2, root_s1, metadata, maps_root)


class Archive:
    """Reads patches from the folders of one archive; made by `open_archive`.

    Nothing is open between two calls. A pickled archive leaves the metadata table
    behind: `complete` the entries before they go to another process.

    Attributes:
        version: `"v1"` or `"v2"`.
        root_s2: folder of Sentinel-2, or None.
        root_s1: folder of Sentinel-1, or None.
        maps_root: folder of the reference maps, or None.
    """

    def __init__(
        self,
        version: names.Version,
        root_s2: Path | str | None,
        root_s1: Path | str | None,
        metadata: pd.DataFrame | None = None,
        maps_root: Path | str | None = None,
    ) -> None:
        self.version = version
        self.root_s2 = None if root_s2 is None else Path(root_s2)
        self.root_s1 = None if root_s1 is None else Path(root_s1)
        self.maps_root = None if maps_root is None else Path(maps_root)
        self._catalogue = Catalogue(metadata)
        self._partners: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_partners": None}

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the sensors whose root is given, in channel order."""
        roots = {"S2": self.root_s2, "S1": self.root_s1}
        return tuple(
            band.name for band in BANDS.values() if roots[band.sensor] is not None
        )

    @property
    def label_types(self) -> tuple[str, ...]:
        """The nomenclatures of each patch: that of the version, and what it gives."""
        is_v1 = self.version == "v1"
        return labels.GIVEN_BY[labels.ORIGINAL if is_v1 else labels.BIGEARTHNET_19]

    @property
    def origin(self) -> tuple[str, ...]:
        """The roots, as absolute paths."""
        roots = (self.root_s2, self.root_s1, self.maps_root)
        return tuple(str(root.resolve()) for root in roots if root is not None)

    def complete(self, entries: Iterable[PatchEntry]) -> list[PatchEntry]:
        """Returns entries with all that reading them would have to look up.

        In v2 that is labels, partner, split and country, from the metadata; in v1 the
        partner, if Sentinel-1 is read. What an entry says already stays.

        Raises:
            ValueError: a patch or its partner is unknown, or the metadata is missing.
        """
        entries = list(entries)
        if self.version == "v2":
            return self._catalogue.complete(entries, pairing=self.root_s1 is not None)
        if self.root_s1 is None:
            return entries
        return [replace(entry, name_s1=self._partner(entry)) for entry in entries]

    def read(self, entry: PatchEntry, bands: Sequence[str] | None = None) -> Patch:
        """Returns a patch with its pixels and labels.

        Args:
            entry: the patch; see `complete`.
            bands: what to read, in that order; None for all that the archive has.

        Returns:
            The patch; its `geo` is left to `georeference`, which costs more than all
            bands together.

        Raises:
            FileNotFoundError: a folder or file of the patch is missing.
            ValueError: a file is damaged, a band's sensor has no root, or labels or
                partner are unknown.
        """
        wanted = self.bands if bands is None else resolve_bands(bands)
        sensors = dict.fromkeys(BANDS[name].sensor for name in wanted)
        places = {sensor: self._locate(entry, sensor) for sensor in sensors}
        files = [(places[BANDS[name].sensor], name) for name in wanted]
        pixels, codes = _read_files(files, self._map_folder(entry))
        name_s1 = places["S1"].name if "S1" in places else entry.name_s1
        own_labels, label_type = self._labels(entry, name_s1)
        firsts = {BANDS[name].sensor: name for name in reversed(wanted)}
        return Patch(
            name_s2=entry.name,
            name_s1=name_s1,
            bands=pixels,
            labels=own_labels,
            label_type=label_type,
            reference_map=codes,
            generated=any(
                _read_first(geotiff.is_generated, places[sensor], name)
                for sensor, name in firsts.items()
            ),
        )

    def georeference(self, entry: PatchEntry) -> GeoReference:
        """Returns where a patch lies, from one of its files.

        Raises:
            FileNotFoundError: the file or its folder is missing.
            ValueError: the file is damaged or has no coordinate system.
        """
        folder = self._locate(entry, self._leading_sensor)
        ending = "B02" if self._leading_sensor == "S2" else "VV"
        return _read_first(geotiff.read_georeference, folder, ending)

    def stamp(self, entry: PatchEntry) -> str:
        """Returns size and time of each file of a patch, `-` for one that is missing.

        Where the root lies makes no difference. 3 us a file from a disk.
        """
        try:
            folders = [
                (folder, endings)
                for sensor, endings in self._endings.items()
                for folder in (self._locate(entry, sensor),)
            ]
            map_folder = self._map_folder(entry)
            if map_folder is not None:
                folders.append((map_folder, (f"_{_MAP}{SUFFIXES[0]}",)))
        except ValueError:
            return entry.name  # such a patch can't be read
        return " ".join(
            (entry.name, *(_stamp(f"{f}/{f.name}{e}") for f, of in folders for e in of))
        )

    @property
    def _endings(self) -> dict[Sensor, tuple[str, ...]]:
        """How the names of the files of a patch end, for each sensor."""
        found: dict[Sensor, tuple[str, ...]] = {}
        for name in self.bands:
            sensor = BANDS[name].sensor
            found[sensor] = (*found.get(sensor, ()), f"_{name}{SUFFIXES[0]}")
        if self.version == "v1":
            found[self._leading_sensor] += ("_labels_metadata.json",)
        return found

    def metadata_of(self, entry: PatchEntry) -> PatchMetadata:
        """Returns what the archive says of a patch.

        v1 has a JSON file of it, by Sentinel-2 if that is there, else by Sentinel-1.
        For v2 it is put together from labels, georeference and name.

        Raises:
            FileNotFoundError: a file or folder of the patch is missing.
            ValueError: a file is damaged, or labels or partner are unknown.
        """
        if self.version == "v1":
            return read_v1_json(_json_path(self._locate(entry, self._leading_sensor)))
        own_labels, _ = self._labels(entry, None)
        geo = self.georeference(entry)
        return PatchMetadata(
            labels=own_labels,
            bounds=geo.bounds,
            crs=geo.crs,
            acquired=names.parse_name(entry.name).acquired,
        )

    @property
    def _leading_sensor(self) -> Sensor:
        return "S1" if self.root_s2 is None else "S2"

    def _locate(self, entry: PatchEntry, sensor: Sensor) -> Path:
        """Returns the folder of a patch; it has the patch's name."""
        root = self.root_s2 if sensor == "S2" else self.root_s1
        if root is None:
            raise ValueError(
                f"bands of {sensor} are asked for, but no root of {sensor} is given"
            )
        return self._folder(
            root, entry.name if sensor == "S2" else self._partner(entry)
        )

    def _folder(self, root: Path, name: str) -> Path:
        if names.parse_name(name).version not in (self.version, None):
            raise ValueError(
                f"{root} is a {self.version} archive, but {name} is not a name of "
                f"{self.version}: is the list one of the other version?"
            )
        return root / name if self.version == "v1" else _v2_folder(root, name)

    def _partner(self, entry: PatchEntry) -> str:
        """Returns the Sentinel-1 name of a patch."""
        if entry.name_s1 is not None:
            pairs.check(entry.name, entry.name_s1)
            return entry.name_s1
        if self.version == "v2":
            return self._catalogue.partner_of(entry)
        if self._partners is None:
            self._partners = _read_partners(self.root_s1)
        if entry.name not in self._partners:
            raise ValueError(
                f"{entry.name} has no Sentinel-1 partner in {self.root_s1}: extract "
                "it from the archive, or leave the patch out of the list"
            )
        return self._partners[entry.name]

    def _labels(
        self, entry: PatchEntry, name_s1: str | None
    ) -> tuple[tuple[str, ...], str]:
        """Returns the labels of a patch and their nomenclature."""
        if entry.labels is None and self.version == "v1":
            found = self.metadata_of(entry)
            pairs.check_tile(entry.name, found.source, name_s1)
            return found.labels, labels.ORIGINAL
        return self._catalogue.labels_of(entry)

    def _map_folder(self, entry: PatchEntry) -> Path | None:
        if self.maps_root is None:
            return None
        return self._folder(self.maps_root, entry.name)


def _stamp(path: str) -> str:
    """Returns size and time of a file, which may have the other suffix."""
    for candidate in (path, path.removesuffix(SUFFIXES[0]) + SUFFIXES[1]):
        try:
            facts = os.stat(candidate)  # noqa: PTH116 - half the time of pathlib
        except OSError:
            continue
        return f"{facts.st_size}@{facts.st_mtime_ns}"
    return "-"


def _v2_folder(root: Path, name: str) -> Path:
    return root / names.tile_folder(name) / name


def _json_path(folder: Path) -> Path:
    return folder / f"{folder.name}_labels_metadata.json"


def read_bands(
    folders: Mapping[Sensor, Path], bands: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Returns bands of one patch from its folders, wherever they lie.

    Args:
        folders: that of each sensor; with both, the second is the partner of the first.
        bands: what to read.

    Raises:
        FileNotFoundError: no such folder, or a band is missing in it.
        ValueError: a file is damaged, or of another shape or dtype; the folders are of
            no pair by their names, or lie at different places.
    """
    if len(folders) == 2:
        pairs.check(folders["S2"].name, folders["S1"].name)
    return _read_files([(folders[BANDS[name].sensor], name) for name in bands])[0]


def _read_files(
    files: Sequence[tuple[Path, str]], map_folder: Path | None = None
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint16] | None]:
    """Returns bands, given their folders, and a reference map that lies where they do.

    Raises:
        ValueError: a file is damaged, or they do not lie together.
    """
    pixels: dict[str, NDArray[Any]] = {}
    places: list[tuple[Path, str, placement.Place | None]] = []
    codes = None
    # Asked once for all files of a folder.
    beside = {folder: geotiff.has_sidecars(folder) for folder in dict(files)}
    for folder, name in files:
        read = partial(geotiff.read_band, band_name=name, sidecars=beside[folder])
        pixels[name], place = _read_first(read, folder, name)
        places.append((folder, name, place))
    if map_folder is not None:
        codes, place = _read_first(geotiff.read_map, map_folder, _MAP)
        places.append((map_folder, _MAP, place))
    placement.check_together(places)
    return pixels, codes


def _read_first(read: Callable[[Path], T], folder: Path, ending: str) -> T:
    """Reads a file of a patch, whichever of the suffixes it has.

    The file is opened without asking first whether it exists: on network file
    systems each question costs as much as the reading.
    """
    for suffix in SUFFIXES:
        try:
            return read(folder / f"{folder.name}_{ending}{suffix}")
        except FileNotFoundError:
            continue
    remedy = "extract it from the archive, or leave the patch out of the list"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: the folder of this patch is missing: {remedy}"
        )
    raise FileNotFoundError(
        f"{folder}: the patch is there, but its file {folder.name}_{ending}"
        f"{SUFFIXES[0]} is missing: {remedy}"
    )


def _read_partners(root_s1: Path | None) -> dict[str, str]:
    """Returns Sentinel-2 to Sentinel-1 names of v1, from every JSON of Sentinel-1.

    The only place that has the pairs. In the full archive these are 590,326 files,
    which takes minutes; lists that name both do without.
    """
    partners = {}
    for folder in sorted(root_s1.iterdir()) if root_s1 else ():
        if names.folder_version(folder.name) == "v1":
            path = _json_path(folder)
            s2_name = str(read_v1_json(path).corresponding_s2)
            pairs.check(s2_name, folder.name, path)
            partners[s2_name] = folder.name
    return partners
