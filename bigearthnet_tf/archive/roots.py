"""The roots of an archive: what the folders in one say of all patches there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bigearthnet_tf import files
from bigearthnet_tf.archive import names
from bigearthnet_tf.archive.bands import Sensor


@dataclass(frozen=True)
class Root:
    """What a root holds.

    Attributes:
        version: of the archive.
        sensors: whose patches are there.
    """

    version: names.Version
    sensors: frozenset[Sensor]


def look(root: Path) -> Root:
    """Returns what the names of all folders in a root say.

    A second for the 590,326 folders of v1.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a file, no patches, or patches of both versions.
    """
    found: dict[tuple[names.Version, Sensor], str] = {}
    try:
        with os.scandir(root) as children:
            for child in children:
                kind = names.folder_kind(child.name)
                if kind is not None:
                    found.setdefault(kind, child.name)
    except FileNotFoundError:
        raise FileNotFoundError(f"{root}: no such folder of an archive") from None
    except NotADirectoryError:
        got = "a packed file: unpack it" if files.is_packed(root) else "a file"
        raise ValueError(f"{root}: expected a folder, got {got}") from None
    versions = {version: name for (version, _), name in found.items()}
    if len(versions) > 1:
        raise ValueError(
            f"{root}: expected patches of one archive version, got {versions['v1']} "
            f"(v1) and {versions['v2']} (v2): put them into folders of their own"
        )
    if not versions:
        raise _empty(root)
    (version,) = versions
    return Root(version, frozenset(sensor for _, sensor in found))


def check_sensor(path: Path, root: Root, sensor: Sensor) -> None:
    """Refuses the root of another sensor than is asked for.

    Raises:
        ValueError: not a patch of that sensor is there.
    """
    if sensor not in root.sensors:
        (other,) = root.sensors
        raise ValueError(
            f"{path}: expected patches of {sensor}, got those of {other} alone: give "
            "Sentinel-2 with -r and Sentinel-1 with -s (--s1)"
        )


def _empty(root: Path) -> ValueError:
    nested = [
        folder
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        and any(names.folder_version(p.name) for p in folder.iterdir())
    ]
    hint = f"; did you mean {nested[0]}?" if nested else ""
    return ValueError(
        f"{root}: expected folders named like BigEarthNet patches (v1) or tiles and "
        f"scenes (v2), found none{hint}"
    )
