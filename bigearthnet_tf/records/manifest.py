"""The manifest beside the shards of a split: what they hold, and their checksums."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pydantic

from bigearthnet_tf.archive.bands import BANDS
from bigearthnet_tf.archive.labels import LABELS
from bigearthnet_tf.archive.names import Version, parse_name
from bigearthnet_tf.records import storage

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
        seed: of the order in which the patches were written; None where they come
            from older records.
        reference_maps: whether each record holds its reference map.
        left_out: number of patches that could not be read and were left out.
        sources: for each shard `provenance.digest` of the files it was made of; empty
            where it was not kept.
        generated: whether a patch among them comes from `bigearthnet-tf sample`.
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
    seed: int | None
    plan: str
    shards: list[Shard]
    reference_maps: bool = False
    left_out: int = 0
    sources: list[str] = []
    generated: bool = False


SHARD_NAME = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}\.tfrecord$")


def shard_file(split: str, index: int, count: int) -> str:
    """Returns the file name of a shard, such as `train-00000-of-00012.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def split_of(shard: storage.StrPath) -> str | None:
    """Returns the split that a shard's name speaks of; None if it has no such name."""
    match = SHARD_NAME.match(storage.name_of(shard))
    return match["split"] if match else None


def manifest_path(folder: storage.StrPath, split: str) -> str:
    """Returns where the manifest of a split lies."""
    return storage.join(folder, f"{split}.manifest.json")


def shards_of(folder: storage.StrPath, split: str) -> list[str]:
    """Returns the shards of a split that lie in a folder, of whatever preparation."""
    found = storage.list_folder(folder)
    return [storage.join(folder, name) for name in found if split_of(name) == split]


def find_manifest(shard: storage.StrPath) -> str | None:
    """Returns the manifest that speaks of a shard; None if there is none."""
    split = split_of(shard)
    if split is None:
        return None
    path = manifest_path(storage.folder_of(shard), split)
    return path if storage.exists(path) else None


def any_generated(patterns: Iterable[storage.StrPath]) -> bool:
    """Tells whether a manifest says that its records are generated.

    Of patches and of time series. Records that are not there, have no manifest, or one
    that can't be read, count as real: whoever opens them says what is wrong.

    Args:
        patterns: of shards, wildcards allowed.
    """
    described: set[str] = set()
    for pattern in patterns:
        with suppress(OSError, ValueError):
            shards = storage.glob(pattern)
            described |= {path for each in shards if (path := find_manifest(each))}
    return any(map(_says_generated, sorted(described)))


def _says_generated(path: str) -> bool:
    try:
        return storage.read_object(path).get("generated") is True
    except (OSError, ValueError):
        return False


def load(path: storage.StrPath) -> Manifest:
    """Reads a manifest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a manifest of this schema; says what is wrong.
    """
    try:
        content = storage.read_object(path)
        return _check(Manifest.model_validate(content), path)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ValueError(
            f"{path}: not a manifest that this version reads ({key}: {fault['msg']}); "
            "prepare the records again"
        ) from None


def _check(manifest: Manifest, path: storage.StrPath) -> Manifest:
    """Refuses records whose bands or labels mean something else than here."""
    expected = {name: (b.dtype, (b.pixels, b.pixels)) for name, b in BANDS.items()}
    bands = {name: (b.dtype, b.shape) for name, b in manifest.bands.items()}
    labels = {kind: list(names) for kind, names in LABELS.items()}
    contradiction = _contradiction(manifest)
    if contradiction is not None:
        raise ValueError(
            f"{path}: {contradiction}; copy it again, or prepare the records again"
        )
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


def _contradiction(manifest: Manifest) -> str | None:
    """Returns what a manifest says that can't be, None if it agrees with itself."""
    shards = manifest.shards
    listed = sum(shard.num_records for shard in shards)
    if any(shard.num_records < 0 or shard.num_bytes < 0 for shard in shards):
        return "expected numbers of records and bytes of 0 or more"
    if any((shard.num_records > 0) != (shard.num_bytes > 0) for shard in shards):
        return "expected bytes in the shards that have records, and in no others"
    if listed != manifest.num_records:
        return f"speaks of {manifest.num_records} records, but its shards of {listed}"
    if not listed:
        return "expected at least one record, got none"
    if len({shard.file for shard in shards}) < len(shards):
        return "names a shard twice"
    if manifest.archive_version not in ("v1", "v2"):
        return f"expected archive_version v1 or v2, got {manifest.archive_version!r}"
    return None


def check_name(manifest: Manifest, name: str | None, where: str) -> None:
    """Refuses a patch of another archive version than the manifest speaks of.

    Args:
        manifest: of the shard.
        name: of the patch; names of Sentinel-1 or of no archive say nothing.
        where: shard and record, for the message.

    Raises:
        ValueError: the versions differ.
    """
    version = version_of(name)
    if version not in (None, manifest.archive_version):
        raise ValueError(
            f"{where}: patch {name} is of {version}, but the manifest speaks of "
            f"{manifest.archive_version}; copy both again, or prepare the records again"
        )


def version_of(name: str | None) -> Version | None:
    """Returns the archive version that a patch name is of; None if it does not say."""
    try:
        return parse_name(name or "").version
    except ValueError:
        return None


def fingerprint(shards: Sequence[storage.StrPath]) -> str:
    """Returns what tells the content of shards from that of others, 8 hex digits.

    Of shards whose manifest names them, it comes from their checksums; of others, from
    their names and sizes. Where they lie makes no difference.

    Args:
        shards: paths, in the order in which they are read.
    """
    described = {path: find_manifest(path) for path in shards}
    known: dict[tuple[str | None, str], str] = {
        (path, shard["file"]): shard["crc32"]
        for path in set(described.values())
        if path is not None
        for shard in storage.read_object(path)["shards"]
    }
    found = []
    for path in shards:
        name = storage.name_of(path)
        crc32 = known.get((described[path], name))
        found.append(crc32 or f"{name} {storage.size(path)}")
    return f"{zlib.crc32(json.dumps(found).encode()):08x}"


class AnyManifest(Protocol):
    """What manifests of any kind have in common."""

    @property
    def split(self) -> str:
        """Name of the split."""

    @property
    def shards(self) -> Sequence[Shard]:
        """Its files."""

    def model_dump(self) -> dict[str, Any]:
        """Returns the content."""


def save(manifest: AnyManifest, folder: storage.StrPath) -> None:
    """Writes a manifest into the folder of its shards."""
    text = json.dumps(manifest.model_dump(), indent=2, allow_nan=False) + "\n"
    storage.write_text(manifest_path(folder, manifest.split), text)
