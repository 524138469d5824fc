"""The manifest beside the shards of a split: what they hold, and their checksums."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pydantic

from bigearthnet_tf import files
from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.labels import LABELS

SCHEMA_VERSION = 1


class Shard(pydantic.BaseModel):
    """One file of a split: its name, number of records, bytes and CRC-32 (hex)."""

    model_config = pydantic.ConfigDict(frozen=True)

    file: str
    num_records: int
    num_bytes: int
    crc32: str


class BandFacts(pydantic.BaseModel):
    """dtype and shape (rows, columns) of a band."""

    model_config = pydantic.ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, int]


class Manifest(pydantic.BaseModel):
    """`<split>.manifest.json`.

    Attributes:
        plan: fingerprint of what was asked for: patches, order, bands, form.
        label_order: for each label type the names in the order of its vector.
        seed: of the order in which the patches were written.
    """

    model_config = pydantic.ConfigDict(frozen=True, protected_namespaces=())

    schema_version: int
    tool_version: str
    split: str
    archive_version: str
    record_format: str
    bands: dict[str, BandFacts]
    label_order: dict[str, list[str]]
    num_records: int
    seed: int
    plan: str
    shards: list[Shard]


SHARD_NAME = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\.tfrecord$")


def shard_file(split: str, index: int, count: int) -> str:
    """Returns the file name of a shard, such as `train-00000-of-00012.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def manifest_path(folder: Path | str, split: str) -> Path:
    """Returns where the manifest of a split lies."""
    return Path(folder) / f"{split}.manifest.json"


def shards_of(folder: Path, split: str) -> list[Path]:
    """Returns the shards of a split that lie in a folder, of whatever preparation."""
    return [
        path
        for path in sorted(folder.glob("*.tfrecord"))
        if (match := SHARD_NAME.match(path.name)) and match["split"] == split
    ]


def find_manifest(shard: Path | str) -> Path | None:
    """Returns the manifest that speaks of a shard; None if there is none."""
    shard = Path(shard)
    match = SHARD_NAME.match(shard.name)
    if match is None:
        return None
    path = manifest_path(shard.parent, match["split"])
    return path if path.is_file() else None


def load(path: Path | str) -> Manifest:
    """Reads a manifest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a manifest of this schema; says what is wrong.
    """
    content = files.read_json(path)
    try:
        return _check(Manifest.model_validate(content), path)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ValueError(
            f"{path}: not a manifest that this version reads ({key}: {fault['msg']}); "
            "prepare the records again"
        ) from None


def _check(manifest: Manifest, path: Path | str) -> Manifest:
    """Refuses records whose bands or labels mean something else than here."""
    expected = {name: (b.dtype, (b.pixels, b.pixels)) for name, b in BANDS.items()}
    bands = {name: (b.dtype, b.shape) for name, b in manifest.bands.items()}
    labels = {kind: list(names) for kind, names in LABELS.items()}
    if manifest.schema_version != SCHEMA_VERSION:
        fault = f"schema version {manifest.schema_version}, not {SCHEMA_VERSION}"
    elif any(expected.get(name) != facts for name, facts in bands.items()):
        fault = "bands of another dtype or shape"
    elif any(labels.get(kind) != names for kind, names in manifest.label_order.items()):
        fault = "labels in another order"
    else:
        return manifest
    raise ValueError(
        f"{path}: speaks of records that this version does not read ({fault}); prepare "
        "the records again"
    )


def save(manifest: Manifest, folder: Path | str) -> None:
    """Writes a manifest into the folder of its shards."""
    files.write_json(manifest_path(folder, manifest.split), manifest.model_dump())


def describe_shard(path: Path, num_records: int) -> Shard:
    """Measures a finished shard file: bytes and CRC-32, read in pieces of 4 MB."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            crc = zlib.crc32(piece, crc)
    return Shard(
        file=path.name,
        num_records=num_records,
        num_bytes=path.stat().st_size,
        crc32=f"{crc:08x}",
    )
